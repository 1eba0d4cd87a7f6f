"""The compiled sampling and TPE; see docs/architecture.md for what each room is for, and the .pxi files for how."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, Self, final

def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]: ...

@final
class SpaceNode:
    CONST: ClassVar[int]
    DRAW: ClassVar[int]
    PICK: ClassVar[int]
    CALL: ClassVar[int]
    DICT: ClassVar[int]
    LIST: ClassVar[int]
    TUPLE: ClassVar[int]
    @property
    def kind(self) -> int: ...
    @property
    def leaf(self) -> int: ...
    @property
    def value(self) -> Any: ...
    @property
    def keys(self) -> tuple[Any, ...] | None: ...
    @property
    def children(self) -> tuple[SpaceNode, ...] | None: ...
    @property
    def conditional(self) -> bool: ...
    def __new__(
        cls,
        kind: int,
        *,
        leaf: int = -1,
        value: Any = None,
        keys: tuple[Any, ...] | None = None,
        children: tuple[SpaceNode, ...] | None = None,
        conditional: bool = False,
    ) -> Self: ...

@final
class Sampler:
    def __new__(
        cls,
        rules: Sequence[tuple[str, float, float, float]],
        seed: int,
        root: SpaceNode | None = None,
        *,
        offset: int = 0,
        grid: int = 1,
        constant: bool = False,
        conditional: bool = False,
    ) -> Self: ...
    def config(self, trial: int, calls: dict[int, Any] | None = None) -> Any: ...
    def build(self, values: Sequence[Any], calls: dict[int, Any] | None = None) -> Any: ...
    def values(self, trial: int) -> tuple[Any, ...]: ...
    def block(self, first: int, n: int) -> bytes: ...
    def columns(self, trials: Any) -> list[bytearray]: ...
    def parts(self, node: SpaceNode, trials: Any) -> list[Any]: ...

@final
class Tpe:
    FLOAT: ClassVar[int]
    INTEGER: ClassVar[int]
    CATEGORICAL: ClassVar[int]
    UNIT: ClassVar[int]
    WHOLE: ClassVar[int]
    UNKNOWN: ClassVar[int]
    n: Final[int]
    n_pending: Final[int]
    def __new__(
        cls,
        dims: Sequence[Sequence[float]],
        seed: int,
        *,
        multivariate: bool = True,
        candidates: int = 24,
        gamma: float = 0.1,
        most_good: int = 25,
        prior_weight: float = 1.0,
        most_bad: int = 256,
        magic: float = 1.5,
        narrowest: float = 0.01,
    ) -> Self: ...
    def add(self, numbers: Sequence[float | None]) -> int: ...
    def change(self, row: int, numbers: Sequence[float | None]) -> None: ...
    def tell(self, row: int, step: int, loss: float, failed: bool = False) -> None: ...
    def ask(self, number: int) -> tuple[int, list[Any]]: ...
    def score(self, numbers: Sequence[float | None]) -> float: ...
    def drop(self, row: int) -> None: ...
    def restore(
        self, units: bytes, ends: Iterable[tuple[int, int, float, bool]], dropped: Iterable[int] = ()
    ) -> None: ...
    @property
    def n_finished(self) -> int: ...

def restored_tpe(
    dims: Sequence[Sequence[float]],
    seed: int,
    options: Mapping[str, Any],
    units: bytes,
    ends: Iterable[tuple[int, int, float, bool]],
    dropped: Iterable[int] = (),
) -> Tpe: ...
