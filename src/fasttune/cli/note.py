"""add-note: notes beside an experiment."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from fasttune.cli import CommandError
from fasttune.cli import arguments as common

EXAMPLES = """\
  fasttune add-note mnist the learning rate was too high
  fasttune add-note latest                              in $EDITOR
  git log -1 | fasttune add-note latest --filename commit.txt"""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Its arguments."""
    common.experiment(parser)
    parser.add_argument("text", metavar="TEXT", nargs="*", help="default: what $EDITOR leaves, or standard input")
    parser.add_argument("--filename", default="note.txt", help="file in the experiment's folder; default note.txt")


def run(asked: argparse.Namespace) -> int:
    """Add to the experiment's file of notes; an empty note changes nothing."""
    from fasttune.cli.finding import find
    from fasttune.folder import is_ours, is_plain
    from fasttune.plain_files import open_plain, plain_opener

    folder = find(asked.experiment)
    if not is_plain(asked.filename) or is_ours(asked.filename):
        raise CommandError(
            "--filename is a name for a file of notes, without a folder and none that fasttune uses itself, got "
            f"{asked.filename!r}"
        )
    path = os.path.join(folder, asked.filename)
    if not asked.text and sys.stdin.isatty():
        if os.path.lexists(path):
            os.close(open_plain(path, os.O_RDWR))  # the editor would follow a link
        return edit(path)
    text = " ".join(asked.text) if asked.text else sys.stdin.read().rstrip("\n")
    if not text.strip():
        raise CommandError("the note is empty: nothing was added")
    with open(path, "a", encoding="utf-8", opener=plain_opener) as file:
        file.write(text + "\n")
    print(f"added to {path}", file=sys.stderr)
    return 0


def edit(path: str) -> int:
    """The whole file in the user's editor; its exit code is ours."""
    import shlex

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        return subprocess.run([*shlex.split(editor), path], check=False).returncode
    except FileNotFoundError as error:
        raise CommandError(f"the editor {editor!r} was not found: set EDITOR, or give the text") from error
