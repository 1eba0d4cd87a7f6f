"""What messages call things, and where they go."""

from __future__ import annotations

from collections.abc import Callable


def name_of(trainable: object) -> str:
    if isinstance(trainable, str):
        return trainable
    from fasttune.trainable import trainable_name

    return trainable_name(trainable)


def kind_of(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def teller(verbose: int, in_words: Callable[[str], str]) -> Callable[[str], None] | None:
    """What prints a line about the run, in the words of its door; None: nobody wants any."""
    return (lambda text: print(f"fasttune: {in_words(text)}")) if verbose > 0 else None


def log(text: str, *values: object) -> None:
    import logging

    logging.getLogger("fasttune").warning(text, *values)
