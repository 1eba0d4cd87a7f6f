"""``python -m fasttune``: the command ``fasttune``."""

from __future__ import annotations

import sys

from fasttune.cli import main

if __name__ == "__main__":
    sys.exit(main())
