"""How many random cases a test takes."""

import os

ALL = os.environ.get("FASTTUNE_ALL_ROUNDS") == "1"  # set by `make test-all`


def rounds(most: int) -> int:
    """``most`` in `make test-all`, a third of them in `make test`."""
    return most if ALL else -(-most // 3)
