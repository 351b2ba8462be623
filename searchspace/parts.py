"""What a network is made of: families of blocks, stem, block, stage, head, as frozen values that say what is wrong with them.

Standard library only; searchspace/architecture.py puts them together.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

ACTIVATIONS = ("relu", "relu6", "swish", "h_swish")
GATES = ("ff1", "ff2", "rnn")
SHARINGS = ("per_block", "shared")


class ArchitectureError(ValueError):
    """An architecture that cannot be; `field` says where, as in `stages[2].blocks[0].kernel`."""

    def __init__(self, field: str, problem: str):
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


@dataclass(frozen=True)
class Family:
    """What the value side must know of a block family; the module is in searchspace/blocks.py.

    shortcut: "never", "equal" (stride 1 and as many channels out as in) or "always" (1x1 convolution where shapes differ).
    """

    name: str
    shortcut: str
    expands: bool = False


FAMILIES: dict[str, Family] = {
    "separable": Family("separable", "never"),
    "inverted": Family("inverted", "equal", expands=True),
    "residual": Family("residual", "always"),
    "bottleneck": Family("bottleneck", "always", expands=True),
    "projection": Family("projection", "never"),
}


BUILT_IN = frozenset(FAMILIES)


def register_family(family: Family) -> None:
    """Make a block family of your own known (its module: `searchspace.blocks.register`). ArchitectureError for a name of ours."""
    if family.name in BUILT_IN:
        raise ArchitectureError("family", f"{family.name!r} is built in; give yours another name")
    FAMILIES[family.name] = family


def require(ok: bool, field: str, problem: str) -> None:
    if not ok:
        raise ArchitectureError(field, problem)


def whole(value: object, field: str, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ArchitectureError(field, f"{value!r} is not a whole number >= {least}")


def one_of(value: object, field: str, names: Collection[str]) -> None:
    if value not in names:
        raise ArchitectureError(field, f"{value!r} is not one of {', '.join(n or '(empty)' for n in names)}")


class Hashed:
    """The hash of a value that is looked up often, worked out once. Not pickled: a text's differs from process to process."""

    @cached_property
    def _hash(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.__dataclass_fields__))  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return self._hash

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Stem:
    """The first convolution with normalisation and activation. `pool`: kernel of a max pooling of stride 2 after it, 0: none."""

    out: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    pool: int = 0

    def check(self, at: str) -> None:
        whole(self.out, f"{at}.out", 1)
        whole(self.stride, f"{at}.stride", 1)
        whole(self.kernel, f"{at}.kernel", 1)
        require(self.kernel % 2 == 1, f"{at}.kernel", f"{self.kernel} is not odd")
        one_of(self.activation, f"{at}.activation", ACTIVATIONS)
        whole(self.pool, f"{at}.pool", 0)
        require(self.pool % 2 == 1 or self.pool == 0, f"{at}.pool", f"{self.pool} is not odd")


@dataclass(frozen=True)
class Block:
    """One block. `hidden`: channels inside (families that have such a width only): after the expansion, equal to the channels
    that come in: no expansion layer; or in the bottleneck. `se`: channels of the bottleneck of squeeze-and-excitation, 0 for
    none. `gate`: "" or ff1, ff2, rnn."""

    family: str
    out: int
    stride: int = 1
    kernel: int = 3
    hidden: int = 0
    se: int = 0
    activation: str = "relu"
    gate: str = ""

    def check(self, at: str) -> None:
        one_of(self.family, f"{at}.family", FAMILIES)
        whole(self.out, f"{at}.out", 1)
        whole(self.stride, f"{at}.stride", 1)
        whole(self.kernel, f"{at}.kernel", 1)
        require(self.kernel % 2 == 1, f"{at}.kernel", f"{self.kernel} is not odd")
        expands = FAMILIES[self.family].expands
        whole(self.hidden, f"{at}.hidden", 1 if expands else 0)
        require(expands or self.hidden == 0, f"{at}.hidden", f"a {self.family} block has no expansion: must be 0")
        whole(self.se, f"{at}.se", 0)
        one_of(self.activation, f"{at}.activation", ACTIVATIONS)
        one_of(self.gate, f"{at}.gate", ("", *GATES))

    def has_shortcut(self, channels_in: int) -> bool:
        """Whether x can pass by this block: the condition for a gate."""
        rule = FAMILIES[self.family].shortcut
        return rule == "always" or (rule == "equal" and self.stride == 1 and self.out == channels_in)


@dataclass(frozen=True)
class Stage(Hashed):
    """Blocks that share one width; the first may stride."""

    blocks: tuple[Block, ...]
    __hash__ = Hashed.__hash__

    def check(self, at: str, channels: int, first: bool) -> None:
        """`channels` that come in; `first`: no block lies before. What does not hang on these is looked at once for all nets that
        have this stage."""
        require(len(self.blocks) > 0, f"{at}.blocks", "there is none")
        last = None
        for j, block in enumerate(self.blocks[:1] if self.sound else self.blocks):
            if block is not last and not self.sound:  # a stage may repeat one and the same
                block.check(f"{at}.blocks[{j}]")
                last = block
            if block.gate:
                why = "the first block has no block before it whose output a gate could read"
                require(not first, f"{at}.blocks[{j}].gate", why)
                why = "this block has no shortcut, so it cannot be skipped"
                require(block.has_shortcut(channels), f"{at}.blocks[{j}].gate", why)
            channels, first = block.out, False

    @cached_property
    def sound(self) -> bool:
        """Whether it is right wherever it stands, but for a gate of its first block."""
        last = None
        try:
            for block in self.blocks:
                if block is not last:  # told apart by identity: 16.0 equals 16, and a list has no hash
                    block.check("")
                last = block
        except ArchitectureError:
            return False
        return all(block.has_shortcut(before.out) for before, block in pairwise(self.blocks) if block.gate)


@dataclass(frozen=True)
class Head:
    """[1x1 convolution to `conv` channels] -> global average pool -> [linear to `hidden`] -> linear to the classes."""

    conv: int = 0
    hidden: int = 0
    activation: str = "relu"

    def check(self, at: str) -> None:
        whole(self.conv, f"{at}.conv", 0)
        whole(self.hidden, f"{at}.hidden", 0)
        one_of(self.activation, f"{at}.activation", ACTIVATIONS)
