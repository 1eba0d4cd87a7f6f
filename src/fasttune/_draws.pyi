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
    def ask_many(self, number: int, n: int) -> tuple[int, list[list[Any]]]: ...
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

@final
class Quadratic:
    n: Final[int]
    radius: Final[float]
    score: Final[float]
    out: Final[bool]
    def __new__(
        cls,
        n_dims: int,
        seed: int,
        *,
        share: float = 1.6,
        ridge: float = 1e-8,
        jitter: float = 0.1,
        radius: float = 0.3,
        least: float = 0.05,
        span: float = 0.45,
    ) -> Self: ...
    def tell(self, units: Sequence[float | None], loss: float, pattern: int, suggested: bool = False) -> None: ...
    def miss(self, out: bool = True) -> None: ...
    def clear(self) -> None: ...
    def ask(self, number: int) -> tuple[int, list[float | None]] | None: ...
    def restore(
        self, units: bytes, rows: Sequence[tuple[float, int]], hessian: bytes, numbers: Sequence[float]
    ) -> None: ...

def restored_quadratic(
    n_dims: int,
    seed: int,
    options: Mapping[str, Any],
    units: bytes,
    rows: Sequence[tuple[float, int]],
    hessian: bytes,
    numbers: Sequence[float],
) -> Quadratic: ...
