"""What doctor finds, line by line."""

from __future__ import annotations

from fasttune.cli.listing import print_json
from fasttune.cli.words import one_line

BAD = "FAILED"
Check = tuple[str, bool, str]  # its name, whether it is well, what is said of it


def tell(checks: list[Check], as_json: bool) -> int:
    """Print what was found; the exit code."""
    if as_json:
        print_json({name: {"ok": ok, "text": text} for name, ok, text in checks})
    else:
        width = max(len(name) for name, _, _ in checks)
        for name, ok, text in checks:
            print(f"{name.ljust(width)}  {'' if ok else BAD + ': '}{one_line(text)}")
    return int(not all(ok for _, ok, _ in checks))
