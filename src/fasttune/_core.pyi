from collections.abc import Sequence
from typing import Any, ClassVar

def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int]) -> tuple[int, int, int, int]: ...

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
    def __init__(
        self,
        kind: int,
        *,
        leaf: int = -1,
        value: Any = None,
        keys: tuple[Any, ...] | None = None,
        children: tuple[SpaceNode, ...] | None = None,
        conditional: bool = False,
    ) -> None: ...

class Sampler:
    def __init__(
        self,
        rules: Sequence[tuple[str, float, float, float]],
        seed: int,
        root: SpaceNode | None = None,
        *,
        offset: int = 0,
        grid: int = 1,
        constant: bool = False,
        conditional: bool = False,
    ) -> None: ...
    def config(self, trial: int, calls: dict[int, Any] | None = None) -> Any: ...
    def build(self, values: Sequence[Any], calls: dict[int, Any] | None = None) -> Any: ...
    def values(self, trial: int) -> tuple[Any, ...]: ...
    def block(self, first: int, n: int) -> bytes: ...
