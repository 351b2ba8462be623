"""Static twins of a gated net: what remains when skipping does not look at the image. Standard library only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from searchspace.architecture import Architecture, Block, Stage

HALF = 0.5


def static_twin(net: Architecture, keep: Sequence[float], least: float = HALF) -> Architecture:
    """The ungated net of the blocks that gate k keeps with rate keep[k] >= least. Of the others nothing remains, or where shapes
    change their shortcut alone (a strided residual block: the family `projection`). ValueError for another number of rates, or
    when nothing remains."""
    if len(keep) != len(net.gates):
        raise ValueError(f"{len(keep)} keep rates for {len(net.gates)} gates")
    rate = dict(zip(net.gates, keep, strict=True))
    stages: list[Stage] = []
    i, channels = -1, net.stem.out
    for stage in net.stages:
        blocks: list[Block] = []
        for block in stage.blocks:
            i += 1
            if i not in rate or rate[i] >= least:
                blocks.append(replace(block, gate=""))
            elif block.stride != 1 or block.out != channels:
                blocks.append(Block("projection", block.out, block.stride, kernel=1))
            channels = block.out
        if blocks:
            stages.append(Stage(tuple(blocks)))
    if not stages:
        raise ValueError("no block is kept often enough: there is no static twin")
    return replace(net, stages=tuple(stages), gate_sharing="", skip_alpha=None)
