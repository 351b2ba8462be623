"""What a network is: frozen values that can be printed, hashed, stored and compared. Standard library only.

An `Architecture` is written out block by block with the final channel counts, so that it expresses MobileNetV1, V2, V3
and ResNet/SkipNet exactly; the width multiplier alpha is a way to choose it (searchspace/space.py), not a part of it.
Building it is a second step (searchspace/network.py).

    a = Architecture(Stem(16), (Stage((Block("residual", 16), Block("residual", 16, gate="rnn"))),), Head(),
                     resolution=32, classes=10, gate_sharing="shared", skip_alpha=0.1)
    a.id, a.to_json(), Architecture.from_json(text)
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchspace.space import SearchSpace

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


def _require(ok: bool, field: str, problem: str) -> None:
    if not ok:
        raise ArchitectureError(field, problem)


def _whole(value: object, field: str, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ArchitectureError(field, f"{value!r} is not a whole number >= {least}")


def _one_of(value: object, field: str, names: Collection[str]) -> None:
    if value not in names:
        raise ArchitectureError(field, f"{value!r} is not one of {', '.join(n or '(empty)' for n in names)}")


@dataclass(frozen=True)
class Stem:
    """The first convolution with normalisation and activation. `pool`: kernel of a max pooling of stride 2 after it, 0: none."""

    out: int
    kernel: int = 3
    stride: int = 1
    activation: str = "relu"
    pool: int = 0

    def check(self, at: str) -> None:
        _whole(self.out, f"{at}.out", 1)
        _whole(self.stride, f"{at}.stride", 1)
        _whole(self.kernel, f"{at}.kernel", 1)
        _require(self.kernel % 2 == 1, f"{at}.kernel", f"{self.kernel} is not odd")
        _one_of(self.activation, f"{at}.activation", ACTIVATIONS)
        _whole(self.pool, f"{at}.pool", 0)
        _require(self.pool % 2 == 1 or self.pool == 0, f"{at}.pool", f"{self.pool} is not odd")


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
        _one_of(self.family, f"{at}.family", FAMILIES)
        _whole(self.out, f"{at}.out", 1)
        _whole(self.stride, f"{at}.stride", 1)
        _whole(self.kernel, f"{at}.kernel", 1)
        _require(self.kernel % 2 == 1, f"{at}.kernel", f"{self.kernel} is not odd")
        expands = FAMILIES[self.family].expands
        _whole(self.hidden, f"{at}.hidden", 1 if expands else 0)
        _require(expands or self.hidden == 0, f"{at}.hidden", f"a {self.family} block has no expansion: must be 0")
        _whole(self.se, f"{at}.se", 0)
        _one_of(self.activation, f"{at}.activation", ACTIVATIONS)
        _one_of(self.gate, f"{at}.gate", ("", *GATES))

    def has_shortcut(self, channels_in: int) -> bool:
        """Whether x can pass by this block: the condition for a gate."""
        rule = FAMILIES[self.family].shortcut
        return rule == "always" or (rule == "equal" and self.stride == 1 and self.out == channels_in)


@dataclass(frozen=True)
class Stage:
    """Blocks that share one width; the first may stride."""

    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Head:
    """[1x1 convolution to `conv` channels] -> global average pool -> [linear to `hidden`] -> linear to the classes."""

    conv: int = 0
    hidden: int = 0
    activation: str = "relu"

    def check(self, at: str) -> None:
        _whole(self.conv, f"{at}.conv", 0)
        _whole(self.hidden, f"{at}.hidden", 0)
        _one_of(self.activation, f"{at}.activation", ACTIVATIONS)


@dataclass(frozen=True)
class Architecture:
    """One network as a value. `resolution` in pixels (square). Gates: `gate_sharing` says whether gates of one design are
    one module, `skip_alpha` is the weight of the skip reward (SkipNet, arXiv:1711.09485, eq. 6); both absent without gates."""

    stem: Stem
    stages: tuple[Stage, ...]
    head: Head
    resolution: int
    classes: int
    in_channels: int = 3
    gate_sharing: str = ""
    skip_alpha: float | None = None

    def __post_init__(self) -> None:
        self.stem.check("stem")
        _require(len(self.stages) > 0, "stages", "there is none")
        channels, first, last = self.stem.out, True, None
        for i, stage in enumerate(self.stages):
            _require(len(stage.blocks) > 0, f"stages[{i}].blocks", "there is none")
            for j, block in enumerate(stage.blocks):
                at = f"stages[{i}].blocks[{j}]"
                if block is not last:  # a stage may repeat one and the same
                    block.check(at)
                    last = block
                if block.gate:
                    _require(not first, f"{at}.gate", "the first block has no block before it whose output a gate could read")
                    _require(block.has_shortcut(channels), f"{at}.gate", "this block has no shortcut, so it cannot be skipped")
                channels, first = block.out, False
        self.head.check("head")
        _whole(self.resolution, "resolution", 1)
        _whole(self.classes, "classes", 1)
        _whole(self.in_channels, "in_channels", 1)
        if self.gates:
            _one_of(self.gate_sharing, "gate_sharing", SHARINGS)
            number = isinstance(self.skip_alpha, (int, float)) and not isinstance(self.skip_alpha, bool)
            _require(
                number and 0 <= float(self.skip_alpha or 0) < float("inf"),
                "skip_alpha",
                f"{self.skip_alpha!r} is not a number >= 0",
            )
            object.__setattr__(self, "skip_alpha", float(self.skip_alpha or 0))  # 1 and 1.0 are one net, and one id
        else:
            _require(self.gate_sharing == "", "gate_sharing", "means nothing without gates: leave it empty")
            _require(self.skip_alpha is None, "skip_alpha", "means nothing without gates: leave it out")

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks in order."""
        return tuple(block for stage in self.stages for block in stage.blocks)

    @cached_property
    def widths_in(self) -> tuple[int, ...]:
        """Channels that come into each block (and so into its gate)."""
        return (self.stem.out, *(block.out for block in self.blocks[:-1]))

    @cached_property
    def gates(self) -> tuple[int, ...]:
        """Positions (in `blocks`) of the blocks that carry a gate."""
        return tuple(i for i, block in enumerate(self.blocks) if block.gate)

    @cached_property
    def sharable(self) -> bool:
        """Whether sharing would change anything: two gates that could be one module (see searchspace/gates.py)."""
        return can_share((self.blocks[i].gate, self.widths_in[i]) for i in self.gates)

    @cached_property
    def total_stride(self) -> int:
        """Pixels of the image to one of the last map, a side."""
        total = self.stem.stride * (2 if self.stem.pool else 1)
        for block in self.blocks:
            total *= block.stride
        return total

    def without_gates(self) -> Architecture:
        """The ungated twin."""
        stages = tuple(Stage(tuple(dataclasses.replace(b, gate="") for b in s.blocks)) for s in self.stages)
        return dataclasses.replace(self, stages=stages, gate_sharing="", skip_alpha=None)

    def neighbours(self, space: SearchSpace) -> list[Architecture]:
        """Nets of `space` that differ from this one in one choice and the choices that hang on it."""
        return space.neighbours(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain values; what stands at its default is left out, so the id does not move when a field is added."""
        return _plain(self)

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces."""
        return json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"))

    @cached_property
    def id(self) -> str:
        """Stable name: `a` and ten hex digits of the sha256 of the canonical JSON."""
        return "a" + hashlib.sha256(self.to_json().encode()).hexdigest()[:10]

    @staticmethod
    def from_json(text: str) -> Architecture:
        """Inverse of `to_json`; an `ArchitectureError` names the field."""
        try:
            data = json.loads(text)
        except (json.JSONDecodeError, TypeError) as error:
            raise ArchitectureError("architecture", f"not JSON ({error})") from None
        return Architecture.from_dict(data)

    @staticmethod
    def from_dict(data: Any) -> Architecture:
        """Inverse of `to_dict`; an `ArchitectureError` names the field."""
        fields = _fields(Architecture, data, "architecture")
        fields["stem"] = Stem(**_fields(Stem, fields["stem"], "stem"))
        fields["head"] = Head(**_fields(Head, fields["head"], "head"))
        fields["stages"] = _many(fields["stages"], "stages", _stage)
        return Architecture(**fields)


def can_share(gates: Iterable[tuple[str, int]]) -> bool:
    """gates: (design, channels in). Feed-forward gates of one design and width could be one module; RNN gates share
    their recurrent core whatever the width."""
    seen: set[tuple[str, int]] = set()
    for design, channels in gates:
        key = (design, 0 if design == "rnn" else channels)
        if key in seen:
            return True
        seen.add(key)
    return False


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(v) for v in value]
    if not dataclasses.is_dataclass(value):
        return value
    return {f.name: _plain(v) for f in dataclasses.fields(value) if (v := getattr(value, f.name)) != f.default}


def _fields(kind: type, data: Any, at: str) -> dict[str, Any]:
    _require(isinstance(data, dict), at, "must be an object")
    before = "" if kind is Architecture else f"{at}."
    known = {f.name: f.default is dataclasses.MISSING for f in dataclasses.fields(kind)}
    for name in data:
        _require(name in known, f"{before}{name}", f"unknown field; there are {', '.join(known)}")
    for name, needed in known.items():
        _require(not needed or name in data, f"{before}{name}", "is missing")
    return dict(data)


def _many(data: Any, at: str, make: Callable[[Any, str], Any]) -> tuple[Any, ...]:
    _require(isinstance(data, (list, tuple)), at, "must be a list")
    return tuple(make(item, f"{at}[{i}]") for i, item in enumerate(data))


def _stage(data: Any, at: str) -> Stage:
    return Stage(_many(_fields(Stage, data, at)["blocks"], f"{at}.blocks", lambda d, a: Block(**_fields(Block, d, a))))
