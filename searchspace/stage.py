"""A stage of a search space: from its choices to its blocks, once for each set of choices. Of the thousands of nets that a
sampler looks at most share most of their stages.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import NamedTuple

from searchspace.architecture import Block, Family, Stage
from searchspace.skeletons import divisible, squeeze

MOST = 1 << 16  # stages remembered


class Plan(NamedTuple):
    """What makes a stage, but for its gates. `channels` come in; `first`: it is the net's first stage."""

    family: Family  # and not its name alone: a plug-in's may be registered anew
    width: int
    stride: int
    kernel: int
    expansion: int
    depth: int
    excite: bool
    activation: str
    channels: int
    first: bool


@lru_cache(maxsize=MOST)
def laid(plan: Plan) -> tuple[Stage, tuple[bool, ...]]:
    """The stage without gates, and which of its blocks could carry one. All blocks after the second are as the second."""
    p, channels = plan, plan.channels
    blocks: list[Block] = []
    for j in range(min(p.depth, 2)):
        expands = p.family.expands
        hidden = divisible(channels * p.expansion) if p.expansion > 1 else channels
        seen_by_se = hidden if expands else (channels if p.family.name == "separable" else p.width)
        blocks.append(Block(p.family.name, p.width, p.stride if j == 0 else 1, p.kernel, hidden if expands else 0,
                            squeeze(seen_by_se) if p.excite else 0, p.activation))  # fmt: skip
        channels = p.width
    blocks += blocks[1:] * (p.depth - 2)
    skips = tuple(b.has_shortcut(w) and not (p.first and j == 0) for j, (b, w) in enumerate(zip(blocks, _widths_in(p))))
    return Stage(tuple(blocks)), skips


@lru_cache(maxsize=MOST)
def with_gates(plan: Plan, gate: str) -> tuple[Stage, tuple[int, ...]]:
    """The stage with a gate of that design at each block that can carry one, and the channels that come into these."""
    stage, skips = laid(plan)
    gated = {id(b): replace(b, gate=gate) for b in stage.blocks[:2]}  # the same block stays one
    blocks = tuple(gated[id(b)] if skips_ else b for b, skips_ in zip(stage.blocks, skips, strict=True))
    return Stage(blocks), tuple(w for w, skips_ in zip(_widths_in(plan), skips, strict=True) if skips_)


def _widths_in(plan: Plan) -> tuple[int, ...]:
    return (plan.channels, *[plan.width] * (plan.depth - 1))
