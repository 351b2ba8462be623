"""The search space as ordinary Python: one walk asks for the choices, and everything else follows that walk.

    space = SearchSpace(classes=10, resolutions=(32,))
    a = space.suggest(trial)                 # any object with suggest_categorical(name, choices), Optuna's trial for one
    space.encode(a), space.decode(params), space.neighbours(a), space.size(), space.nearest(a)

A choice is asked only where it means something: the expansion of inverted residuals, the gate of a stage that has a block
with a shortcut, the sharing of gates where two could be one, `skip_alpha` where there is a gate. Parameter sets that mean
the same net decode to equal values (and so to one id). Standard library only.
"""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from searchspace.architecture import FAMILIES, Architecture, ArchitectureError, Head, Stage, Stem, can_share
from searchspace.skeletons import SKELETONS, Skeleton, divisible, fitting_strides
from searchspace.stage import Plan, laid, with_gates

MIXED = "relu_h_swish"  # relu early, h_swish late: MobileNetV3, section 5.2
Choice = Any
Params = dict[str, Choice]


class Trial(Protocol):
    """What the space needs of an Optuna trial."""

    def suggest_categorical(self, name: str, choices: Sequence[Choice]) -> Choice: ...


class NotInSpace(ValueError):
    """The architecture is no point of the space."""


@dataclass(frozen=True)
class SearchSpace:
    """The ranges (conf/searchspace/*.yaml picks them). `min_map`: least width of the last map in pixels; strides are
    dropped from the front to reach it."""

    name: str = "mobile"
    classes: int = 1000
    in_channels: int = 3
    skeletons: tuple[str, ...] = ("mobilenet_v1", "mobilenet_v2", "resnet")
    alphas: tuple[float, ...] = (0.25, 0.35, 0.5, 0.75, 1.0)
    activations: tuple[str, ...] = ("relu", "relu6", "swish", "h_swish", MIXED)
    resolutions: tuple[int, ...] = (224,)
    families: tuple[str, ...] = ("separable", "inverted", "residual")
    kernels: tuple[int, ...] = (3, 5)
    expansions: tuple[int, ...] = (1, 2, 3, 4, 6)
    depths: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    squeeze_excite: tuple[bool, ...] = (False, True)
    gates: tuple[str, ...] = ("none", "ff1", "ff2", "rnn")
    sharings: tuple[str, ...] = ("per_block", "shared")
    skip_alphas: tuple[float, ...] = (0.02, 0.1, 0.3)
    min_map: int = 2

    def __post_init__(self) -> None:
        known = {"skeletons": tuple(SKELETONS), "families": tuple(FAMILIES), "gates": ("none", "ff1", "ff2", "rnn"),
                 "sharings": ("per_block", "shared"), "activations": ("relu", "relu6", "swish", "h_swish", MIXED)}  # fmt: skip
        for field, names in known.items():
            for value in getattr(self, field):
                if value not in names:
                    raise ArchitectureError(f"searchspace.{field}", f"{value!r} is not one of {', '.join(names)}")
        positive = ("alphas", "resolutions", "kernels", "expansions", "depths")
        for field in (*known, *positive, "squeeze_excite", "skip_alphas"):
            values = getattr(self, field)
            if len(values) == 0 or len(set(values)) < len(values):
                raise ArchitectureError(f"searchspace.{field}", "needs at least one value, each once")
            if field in positive and any(v <= 0 for v in values):
                raise ArchitectureError(f"searchspace.{field}", "must hold positive numbers only")
            if field == "kernels" and any(v % 2 == 0 for v in values):
                raise ArchitectureError(f"searchspace.{field}", "must hold odd numbers only")
            if field == "skip_alphas" and any(not 0 <= v < math.inf for v in values):
                raise ArchitectureError(f"searchspace.{field}", "must hold numbers >= 0 only")
            object.__setattr__(self, field, tuple(values))
        for field in ("classes", "in_channels", "min_map"):
            if getattr(self, field) < 1:
                raise ArchitectureError(f"searchspace.{field}", "must be at least 1")
        for resolution in self.resolutions:
            fitting_strides([1], resolution, self.min_map)

    # -- one walk -------------------------------------------------------------------------------------------------

    def walk(self, ask: Callable[[str, tuple[Choice, ...]], Choice]) -> Architecture:
        """Asks for each choice in turn, `ask(name, choices) -> choice`, and returns the net they make."""

        def choose(name: str, choices: tuple[Choice, ...]) -> Choice:
            return choices[0] if len(choices) == 1 else ask(name, choices)

        skeleton = SKELETONS[choose("skeleton", self.skeletons)]
        alpha = choose("alpha", self.alphas)
        activation = choose("activation", self.activations)
        resolution = choose("resolution", self.resolutions)
        stem, stages, head, strides = self.frame(skeleton, alpha, resolution)
        early, late = ("relu", "h_swish") if activation == MIXED else (activation, activation)
        built: list[Stage] = []
        gated: list[tuple[str, int]] = []
        channels = stem
        for i, width in enumerate(stages):
            at = f"s{i}."
            family = FAMILIES[choose(at + "family", self.families)]
            kernel = choose(at + "kernel", self.kernels)
            expansion = choose(at + "expansion", self.expansions) if family.expands else 1
            depth = choose(at + "depth", self.depths)
            excite = choose(at + "se", self.squeeze_excite)
            # MobileNetV3 turns to h_swish in the second half of its stages: Large from the 4th of 6, Small from the 3rd of 5
            plan = Plan(family, width, strides[i + 1], kernel, expansion, depth, excite, late if i >= len(stages) // 2 else early,
                        channels, first=i == 0)  # fmt: skip
            stage, skips = laid(plan)
            gate = choose(at + "gate", self.gates) if any(skips) else "none"
            if gate != "none":
                stage, widths_in = with_gates(plan, gate)
                gated += [(gate, w) for w in widths_in]
            built.append(stage)
            channels = width
        sharing = choose("gate_sharing", self.sharings) if can_share(gated) else "per_block"
        return Architecture(
            Stem(stem, 3, strides[0], late if activation == MIXED else activation), tuple(built),
            Head(head, 0, late if head else "relu"), resolution, self.classes, self.in_channels,
            sharing if gated else "", choose("skip_alpha", self.skip_alphas) if gated else None,
        )  # fmt: skip

    def frame(self, skeleton: Skeleton, alpha: float, resolution: int) -> tuple[int, tuple[int, ...], int, list[int]]:
        """Channels of stem, stages and head, and the strides (stem first) at this multiplier and resolution."""
        return _frame(skeleton, alpha, resolution, self.min_map)

    # -- what follows from it -------------------------------------------------------------------------------------

    def suggest(self, trial: Trial) -> Architecture:
        """Asks an Optuna trial."""
        return self.walk(trial.suggest_categorical)

    def decode(self, params: Mapping[str, Choice]) -> Architecture:
        """The net of a parameter set. Superfluous parameters are ignored; a missing or foreign one is an error."""

        def look_up(name: str, choices: tuple[Choice, ...]) -> Choice:
            if name not in params:
                raise NotInSpace(f"{name}: is missing; give one of {', '.join(map(str, choices))}")
            if params[name] not in choices:
                raise NotInSpace(f"{name}: {params[name]!r} is not one of {', '.join(map(str, choices))}")
            return params[name]

        return self.walk(look_up)

    def encode(self, architecture: Architecture) -> Params:
        """The parameters of a net, one fixed set for each net; `NotInSpace` when it is no point of the space."""
        for skeleton in self.skeletons:
            for alpha in self.alphas:
                params: Params = {}

                def read(name: str, choices: tuple[Choice, ...], skeleton=skeleton, alpha=alpha, params=params) -> Choice:
                    params[name] = _reading(name, choices, architecture, skeleton, alpha)
                    return params[name]

                try:
                    if self.walk(read) == architecture:
                        return params
                except _NoReading:
                    pass
        raise NotInSpace(f"{architecture.id} is no point of searchspace={self.name}")

    def __contains__(self, architecture: Architecture) -> bool:
        try:
            self.encode(architecture)
        except NotInSpace:
            return False
        return True

    def neighbours(self, architecture: Architecture) -> list[Architecture]:
        """Nets that differ in one choice and the choices that hang on it (searchspace/neighbourhood.py)."""
        from searchspace.neighbourhood import neighbours

        return neighbours(self, architecture)

    def nearest(self, architecture: Architecture) -> tuple[Architecture, list[str]]:
        """The nearest point of the space, and the edits that lead from it to `architecture`, in words."""
        from searchspace.neighbourhood import nearest

        return nearest(self, architecture)

    def choices(self, name: str) -> tuple[Choice, ...]:
        """The range of a choice, as `alpha` or `s2.depth`."""
        fields = {
            "skeleton": "skeletons",
            "alpha": "alphas",
            "activation": "activations",
            "resolution": "resolutions",
            "family": "families",
            "kernel": "kernels",
            "expansion": "expansions",
            "depth": "depths",
            "se": "squeeze_excite",
            "gate": "gates",
            "gate_sharing": "sharings",
            "skip_alpha": "skip_alphas",
        }
        choices: tuple[Choice, ...] = getattr(self, fields[name.split(".")[-1]])
        return choices

    def size(self) -> int:
        """How many distinct nets the space holds, exactly (searchspace/counting.py)."""
        from searchspace.counting import count_nets

        return count_nets(self)


SPACES: dict[str, dict[str, Any]] = {
    # images and classes of the nets' papers, as searchspace.anchor has them; a study gives those of its data
    "mobile": {"resolutions": (128, 160, 192, 224)},
    # the residual line: SkipNet's net with its gates, and its plain twins
    "skipnet": {
        "skeletons": ("resnet",),
        "families": ("residual",),
        "kernels": (3,),
        "squeeze_excite": (False,),
        "resolutions": (32,),
        "classes": 10,
    },
}


def named_space(name: str = "mobile", **ranges: Any) -> SearchSpace:
    """The space of that name, its ranges changed by keyword: `named_space("mobile", resolutions=(32,), classes=10)`."""
    if name not in SPACES:
        raise ArchitectureError("searchspace", f"{name!r} is not one of {', '.join(SPACES)}")
    return SearchSpace(name=name, **{**SPACES[name], **ranges})


class _CallableModule(types.ModuleType):
    """`import searchspace as ss; ss.space("mobile")` and `searchspace/space.py` are both promised names, and importing the
    file binds the module to the package's attribute: so the module answers the call."""

    def __call__(self, name: str = "mobile", **ranges: Any) -> SearchSpace:
        return named_space(name, **ranges)


sys.modules[__name__].__class__ = _CallableModule


@lru_cache(maxsize=1024)
def _frame(skeleton: Skeleton, alpha: float, resolution: int, min_map: int) -> tuple[int, tuple[int, ...], int, list[int]]:
    stem, stages, head = skeleton.widths(alpha)
    strides = [skeleton.stem_stride, *(s.stride for s in skeleton.stages)]
    return stem, stages, head, fitting_strides(strides, resolution, min_map)


class _NoReading(Exception):
    pass


def _reading(name: str, choices: tuple[Choice, ...], net: Architecture, skeleton: str, alpha: float) -> Choice:
    """What a net says of one choice; the caller checks that the whole comes back equal."""
    whole = {"skeleton": skeleton, "alpha": alpha, "resolution": net.resolution,
             "gate_sharing": net.gate_sharing or "per_block", "skip_alpha": net.skip_alpha}  # fmt: skip
    if name in whole:
        value = whole[name]
    elif name == "activation":
        acts = {b.activation for b in net.blocks} | {net.stem.activation}
        value = net.stem.activation if len(acts) == 1 else MIXED
    else:
        stage, _, key = name.partition(".")
        index = int(stage[1:])
        if index >= len(net.stages):
            raise _NoReading
        blocks = net.stages[index].blocks
        first = sum(len(s.blocks) for s in net.stages[:index])
        if key == "expansion":
            value = next(
                (
                    e
                    for e in choices
                    if (divisible(net.widths_in[first] * e) if e > 1 else net.widths_in[first]) == blocks[0].hidden
                ),
                None,
            )
        else:
            value = {"family": blocks[0].family, "kernel": blocks[0].kernel, "depth": len(blocks), "se": blocks[0].se > 0,
                     "gate": next((b.gate for b in blocks if b.gate), "none")}[key]  # fmt: skip
    if value not in choices:
        raise _NoReading
    return value
