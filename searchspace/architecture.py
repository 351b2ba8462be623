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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from searchspace.parts import ACTIVATIONS as ACTIVATIONS
from searchspace.parts import BUILT_IN as BUILT_IN
from searchspace.parts import FAMILIES as FAMILIES
from searchspace.parts import GATES as GATES
from searchspace.parts import SHARINGS, Block, Hashed, Head, Stage, Stem, one_of, require, whole
from searchspace.parts import ArchitectureError as ArchitectureError
from searchspace.parts import Family as Family
from searchspace.parts import register_family as register_family

if TYPE_CHECKING:
    from searchspace.space import SearchSpace


@dataclass(frozen=True)
class Architecture(Hashed):
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
    __hash__ = Hashed.__hash__

    def __post_init__(self) -> None:
        self.stem.check("stem")
        require(len(self.stages) > 0, "stages", "there is none")
        channels, first = self.stem.out, True
        for i, stage in enumerate(self.stages):
            stage.check(f"stages[{i}]", channels, first)
            channels, first = stage.blocks[-1].out, False
        self.head.check("head")
        whole(self.resolution, "resolution", 1)
        whole(self.classes, "classes", 1)
        whole(self.in_channels, "in_channels", 1)
        if self.gates:
            one_of(self.gate_sharing, "gate_sharing", SHARINGS)
            number = isinstance(self.skip_alpha, (int, float)) and not isinstance(self.skip_alpha, bool)
            require(
                number and 0 <= float(self.skip_alpha or 0) < float("inf"),
                "skip_alpha",
                f"{self.skip_alpha!r} is not a number >= 0",
            )
            object.__setattr__(self, "skip_alpha", float(self.skip_alpha or 0))  # 1 and 1.0 are one net, and one id
        else:
            require(self.gate_sharing == "", "gate_sharing", "means nothing without gates: leave it empty")
            require(self.skip_alpha is None, "skip_alpha", "means nothing without gates: leave it out")

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
    require(isinstance(data, dict), at, "must be an object")
    before = "" if kind is Architecture else f"{at}."
    known = {f.name: f.default is dataclasses.MISSING for f in dataclasses.fields(kind)}
    for name in data:
        require(name in known, f"{before}{name}", f"unknown field; there are {', '.join(known)}")
    for name, needed in known.items():
        require(not needed or name in data, f"{before}{name}", "is missing")
    return dict(data)


def _many(data: Any, at: str, make: Callable[[Any, str], Any]) -> tuple[Any, ...]:
    require(isinstance(data, (list, tuple)), at, "must be a list")
    return tuple(make(item, f"{at}[{i}]") for i, item in enumerate(data))


def _stage(data: Any, at: str) -> Stage:
    return Stage(_many(_fields(Stage, data, at)["blocks"], f"{at}.blocks", lambda d, a: Block(**_fields(Block, d, a))))
