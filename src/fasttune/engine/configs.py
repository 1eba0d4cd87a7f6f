"""What trials are to try: which block or suggestion each came in, its config, its tag. Folded from records.

A config is not kept where it can be made again: of a block, what the space's variants compute (``space/variants.py``).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from functools import lru_cache
from struct import Struct
from struct import error as StructError
from typing import TYPE_CHECKING, Any

from fasttune.engine.facts import Chunk
from fasttune.engine.record_checks import WRONG
from fasttune.error import JournalError
from fasttune.result import flatten
from fasttune.space.nested import fresh
from fasttune.space.plan import tag_name, tag_value

if TYPE_CHECKING:
    from fasttune.space.variants import Variants

BLOCK_HEAD = Struct("<II")  # experiment, number of the first config within it


class Configs:
    """The configs of the trials of one experiment, by the trial's number."""

    def __init__(self) -> None:
        self.variants: list[Any] = []  # the Variants of each experiment; empty when a searcher suggests
        self.space_from = 0  # the first trial that the space which holds now is for
        self.given: dict[int, dict[str, Any]] = {}  # live: configs with the objects that JSON cannot hold
        self._chunks: list[Chunk] = []
        self._firsts: list[int] = []  # of each chunk
        self._suggested: dict[int, dict[str, Any]] = {}  # by a searcher, as the journal has it
        self._changed: dict[int, dict[str, Any]] = {}
        self._tags: dict[int, str] = {}  # of trials whose change gave them one
        self._in_texts: set[int] = set()  # trials whose configs, of a searcher or a change, are texts in places

    # -- folding ------------------------------------------------------------------------------------------------------

    def add_block(self, first: int, n: int, payload: bytes, rereads: bool, unpickles: bool) -> None:
        """Trials were suggested together. ``rereads``: what functions of the space gave is taken from the block.
        JournalError."""
        try:
            experiment, local = BLOCK_HEAD.unpack_from(payload)
            variants = self.variants[experiment]
            variants.cover(local + n)
            if rereads:
                variants.remember(payload[BLOCK_HEAD.size :], local, n, unpickles)
        except (*WRONG, StructError) as error:
            raise JournalError(
                f"the configs of trials {first} to {first + n - 1} cannot be read: {type(error).__name__}: {error}"
            ) from error
        self._chunks.append(Chunk(first, n, experiment, local, variants))
        self._firsts.append(first)

    def block(self, experiment: int, local: int, n: int) -> bytes:
        """What the journal is told of n configs of an experiment, from number ``local`` on."""
        told: bytes = BLOCK_HEAD.pack(experiment, local) + self.variants[experiment].block(local, n)
        return told

    def add_suggestion(self, i: int, told: dict[str, Any], whole: bool) -> None:
        """A searcher suggested trial i; ``whole``: JSON could hold all of its config."""
        self._suggested[i] = told
        if not whole:
            self._in_texts.add(i)

    def change(self, i: int, config: dict[str, Any] | None, tag: str | None, whole: bool) -> None:
        """Trial i goes on with this config and this tag; None: with those it had."""
        if config is not None:
            self.given.pop(i, None)
            self._changed[i] = config
            (self._in_texts.discard if whole else self._in_texts.add)(i)
        if tag is not None:
            self._tags[i] = tag

    def give(self, i: int, config: dict[str, Any]) -> None:
        """Trial i has this config, with the objects that JSON cannot hold."""
        self.given[i] = fresh(config)

    def suggest_again(self, i: int, config: dict[str, Any] | None) -> None:
        """A searcher has made the config of trial i once more, with its objects; None: it is as the journal has it."""
        if config is not None:
            self._in_texts.discard(i)
        if i not in self._changed:
            self.given[i] = self._suggested[i]["config"] if config is None else config

    # -- which it came in ---------------------------------------------------------------------------------------------

    def chunk_of(self, i: int) -> Chunk | None:
        """The block that trial i was suggested in; None if a searcher suggested it alone."""
        at = bisect_right(self._firsts, i) - 1
        if at < 0 or i >= self._chunks[at].first + self._chunks[at].n:
            return None
        return self._chunks[at]

    def suggestion(self, i: int) -> dict[str, Any]:
        """What the journal has of trial i, which a searcher suggested."""
        return self._suggested[i]

    def suggested(self) -> list[int]:
        """The trials that a searcher suggested."""
        return sorted(self._suggested)

    def stretches(self) -> Iterator[tuple[int, int, int, int, Variants]]:
        """(first trial, the one behind the last, number of the first among its variants, experiment, variants) of trials that
        were suggested in blocks which go on from each other."""
        begun: Chunk | None = None
        end = 0
        for chunk in self._chunks:
            if begun is not None:
                same = begun.variants is chunk.variants and begun.experiment == chunk.experiment
                if same and chunk.first == end and chunk.local - begun.local == chunk.first - begun.first:
                    end += chunk.n
                    continue
                yield begun.first, end, begun.local, begun.experiment, begun.variants
            begun, end = chunk, chunk.first + chunk.n
        if begun is not None:
            yield begun.first, end, begun.local, begun.experiment, begun.variants

    def singular(self) -> set[int]:
        """Trials whose config or tag their block does not tell."""
        return {*self.given, *self._changed, *self._tags, *self._suggested}

    def of_this_space(self) -> Iterator[tuple[int, int]]:
        """(experiment, how many configs it was given together) of the space that holds now."""
        yield from ((one.experiment, one.n) for one in self._chunks if one.first >= self.space_from)
        yield from ((told["experiment"], 1) for i, told in self._suggested.items() if i >= self.space_from)

    def experiment_of(self, i: int) -> int:
        """Number of the experiment (of several in one run) that trial i belongs to."""
        chunk = self.chunk_of(i)
        number: int = self._suggested[i]["experiment"] if chunk is None else chunk.experiment
        return number

    # -- what it is ---------------------------------------------------------------------------------------------------

    def is_changed(self, i: int) -> bool:
        """Trial i has another config than it was suggested with."""
        return i in self._changed

    def is_in_texts(self, i: int) -> bool:
        """The config of trial i has texts in the place of objects."""
        return i in self._in_texts

    def config(self, i: int) -> dict[str, Any]:
        """The config of trial i; containers of the caller's own."""
        found = self.given.get(i)
        if found is None:
            found = self._changed.get(i)
        return self.as_suggested(i) if found is None else fresh(found)

    def as_suggested(self, i: int) -> dict[str, Any]:
        """The config that trial i was suggested with."""
        chunk = self.chunk_of(i)
        made: dict[str, Any]
        made = fresh(self._suggested[i]["config"]) if chunk is None else chunk.variants.config(chunk.local + i - chunk.first)
        return made

    def params(self, i: int) -> dict[str, Any]:
        """Flat "a/b" -> value of everything that was sampled or changed in the config of trial i."""
        params = self._sampled_params(i)
        if i not in self._changed:
            return params
        flat, fixed = flatten(self.config(i)), flatten(self.as_suggested(i))
        return {name: value for name, value in flat.items() if name in params or name not in fixed}

    def _sampled_params(self, i: int) -> dict[str, Any]:
        chunk = self.chunk_of(i)
        if chunk is None:
            params: dict[str, Any] = self._suggested[i]["params"]
            return dict(params)
        found: dict[str, Any] = chunk.variants.evaluated_params(chunk.local + i - chunk.first)
        return found

    def tag(self, i: int) -> str:
        """The experiment tag of trial i."""
        return self._tags.get(i) or self.tag_as_suggested(i)

    def tag_as_suggested(self, i: int) -> str:
        """The tag that trial i was suggested with, which its folder has its name from."""
        chunk = self.chunk_of(i)
        if chunk is None:
            return tag_of(i + 1, self._sampled_params(i))
        tag: str = chunk.variants.tag(chunk.local + i - chunk.first)
        return tag


def tag_of(number: int, params: dict[str, Any]) -> str:
    """The experiment tag of a config that a searcher suggested."""
    parts = [f"{_tag_name(name)}={tag_value(params[name])}" for name in sorted(params)]
    return f"{number}_" + ",".join(parts) if parts else str(number)


@lru_cache(maxsize=1024)
def _tag_name(name: str) -> str:
    """Of a flat name; the same few come with every trial."""
    return tag_name(tuple(name.split("/")))
