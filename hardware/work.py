"""What an engine does to run a net, counted block by block (hardware/layer_work.py): the features of the latency predictor
(hardware/predictor.py).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from hardware.layer_work import LANES, NAMES, WALKS, Map, Part, foreign
from searchspace.architecture import Architecture, Block, Head, Stage, Stem

CACHE_MB = 8.0  # weights beyond this come from memory at every call; what a core had of 32 MiB shared
FAR = NAMES.index("far")


def counts(net: Architecture) -> np.ndarray:
    """(2 + blocks, len(NAMES)): what stem, each block and head do. ValueError for a gated net. About 0.1 ms, then cached."""
    if net.gates:
        raise ValueError(f"{net.id} is gated, its latency depends on the images: ask about its without_gates()")
    return dense_counts(net)


@lru_cache(maxsize=4096)
def dense_counts(net: Architecture) -> np.ndarray:
    """The same, of a gated net all blocks and no gate."""
    row, weights_mb, x = _stem(Map(net.in_channels, net.resolution, plain=True), net.stem)
    rows = [(row, weights_mb)]
    for block in net.blocks:
        row, weights_mb, x = _block(x, block)
        rows.append((row, weights_mb))
    rows.append(_head(x, net.head, net.classes))
    table, weights = np.stack([row for row, _ in rows]), np.array([mb for _, mb in rows])
    table[:, FAR] = weights * _far(float(weights.sum()))
    table.flags.writeable = False
    return table


def totals(net: Architecture) -> np.ndarray:
    """(len(NAMES),): dense_counts summed over the net. Stages are counted once for all nets, hence some 20 microseconds."""
    row, weights_mb, x = _stem(Map(net.in_channels, net.resolution, plain=True), net.stem)
    rows = [row]
    for stage in net.stages:
        row, mb, x = _stage(x, stage)
        rows.append(row)
        weights_mb += mb
    row, mb = _head(x, net.head, net.classes)
    found: np.ndarray = np.array([*rows, row]).sum(0)
    found[FAR] = (weights_mb + mb) * _far(weights_mb + mb)
    return found


def _far(weights_mb: float) -> float:
    """The share of a net's weights that the cache does not hold."""
    return max(0.0, 1 - CACHE_MB / weights_mb)


@lru_cache(maxsize=4096)
def _stem(x: Map, stem: Stem) -> tuple[np.ndarray, float, Map]:
    """(len(NAMES),), MB of weights, what comes out."""
    part = Part()
    part.f["net"] += 1
    part.f["moved"] += 4 * x.elements / LANES  # the normalisation: two operations
    x = part.conv(x, stem.out, stem.kernel, stem.stride, stem.activation)
    if stem.pool:
        part.f["moved"] += x.elements / LANES
        x = replace(x, size=-(-x.size // 2))
    return part.row(), part.f["weights_mb"], x


@lru_cache(maxsize=4096)
def _head(x: Map, head: Head, classes: int) -> tuple[np.ndarray, float]:
    part = Part()
    part.head(x, head, classes)
    return part.row(), part.f["weights_mb"]


@lru_cache(maxsize=1 << 16)
def _stage(x: Map, stage: Stage) -> tuple[np.ndarray, float, Map]:
    rows, weights_mb = [], 0.0
    for block in stage.blocks:
        row, mb, x = _block(x, block)
        rows.append(row)
        weights_mb += mb
    return np.array(rows).sum(0), weights_mb, x


@lru_cache(maxsize=1 << 16)
def _block(x: Map, block: Block) -> tuple[np.ndarray, float, Map]:
    """(len(NAMES),), MB of weights, what comes out; of any net that has this block on such a map."""
    part = Part()
    out = WALKS.get(block.family, foreign)(part, x, block)
    return part.row(), part.f["weights_mb"], out
