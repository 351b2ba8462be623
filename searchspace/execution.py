"""Running the blocks of a gated net so that a skipped block is not run.

    x, kept = run_blocks(net.steps(), x, asked)     # x: (N, C, H, W), the stem's output; -> the last block's, (N, gates) bool

One image: a branch, one number read a gate. A batch: the images that keep the block are put together to a smaller batch and run;
what comes out is looked at image by image. An image is a view of the tensor that it was computed in, so nothing is written
back, and nobody's memory is written to. (On the CPU index_copy_ takes 3.5 times as long as a copy of the same rows, and
index_select on a channels_last tensor returns NCHW; torch.cat copies at full speed and keeps the layout.)

The host needs the decisions to go on: it waits for the device once a gated block; with decisions known beforehand (`force`,
or execution="decide_first") once in all. Eval mode only: while training, smaller batches would change the batch statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import dropwhile
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from searchspace.blocks import ConvBlock

    Steps = Iterable[tuple[ConvBlock, nn.Module | None]]

# The number of images is rounded up to a multiple of a 32nd of the batch, the fillers computed and dropped: a kernel library
# prepares a kernel for each batch size that it meets (oneDNN: up to 0.5 ms a convolution), and so meets at most 32. Of a batch
# of 64, 0.8 % are fillers on average; with sixteenths 2.3 % would be.
BUCKETS = 32
# Above this share of the images the block runs on all of them. Measured on the CPU, ResNet-38: to copy an image costs a fortieth
# of what its block costs, so that gathering pays up to a share of 40/41; this is the bucket below.
ALL = 1 - 1 / BUCKETS


class Asked(Protocol):
    """The decisions of one pass (searchspace.network)."""

    force: Tensor | None  # (N, gates), decisions known beforehand

    def __call__(self, gate: nn.Module, x: Tensor, how: str) -> Tensor: ...  # (N,) 0 or 1

    def kept(self) -> Tensor: ...  # (N, gates), those taken so far


def run_blocks(steps: Steps, x: Tensor, asked: Asked, first: bool = False) -> tuple[Tensor, Tensor]:
    """All blocks, each on the images that keep it: the last output and what was kept, (N, gates) bool. `first`: all gates are
    asked before the first gated block (and then read the way `past` all of them, which is `asked`'s part)."""
    steps, batch = list(steps), Batch(x)
    known = asked.force if asked.force is None or asked.force.dtype == torch.bool else asked.force > 0.5
    plan = None if known is None else rows_of(known)
    for block, gate in steps:
        if gate is None:
            batch.put(block(batch.whole()))
            continue
        if first and plan is None:
            for _, each in steps:
                if each is not None:
                    asked(each, batch.whole(), "threshold")
            plan = rows_of(asked.kept() > 0.5)
        if plan is not None:
            rows = next(plan)
        else:
            (rows,) = rows_of(asked(gate, batch.whole(), "threshold")[:, None])
        batch.run(block, rows)
    return batch.whole(), asked.kept() > 0.5 if known is None else known.clone()  # `known` may be the caller's own


def rows_of(kept: Tensor) -> Iterator[list[int]]:
    """kept: (N, gates) -> for each gate the images that stay. The host waits once, whatever the number of gates."""
    return ([row for row, stays in enumerate(column) if stays] for column in kept.t().tolist())


class Batch:
    """(N, C, H, W) in one tensor, or image by image, each (1, C, H, W) and a view of the tensor that it was computed in. Such a
    tensor lives as long as one of its images: at keep 0.5 about log2(N) of them do. What is done here for each block is Python
    beside a kernel of 100 microseconds, so there is little of it."""

    __slots__ = ("_each", "_whole", "images", "step")

    def __init__(self, x: Tensor | list[Tensor]):
        self._whole: Tensor | None = x if isinstance(x, Tensor) else None
        self._each: list[Tensor] | None = None if isinstance(x, Tensor) else x
        self.images = len(x)
        self.step = max(1, -(-self.images // BUCKETS))

    def put(self, x: Tensor) -> None:
        self._whole, self._each = x, None

    def whole(self) -> Tensor:
        if self._whole is None:
            assert self._each is not None
            self._whole = torch.cat(self._each)
        return self._whole

    def each(self) -> list[Tensor]:
        if self._each is None:
            assert self._whole is not None
            self._each = apart(self._whole)
        return self._each

    def run(self, block: ConvBlock, rows: list[int]) -> None:
        """The block on those images, the shortcut on the others."""
        many = len(rows)
        if many == self.images:
            self.put(block(self.whole()))
            return
        if not rows and self._whole is not None:
            self.put(block.shortcut(self._whole))
            return
        each = self._each or self.each()
        s = None if block.hands_back(each[0]) else block.shortcut(self.whole())
        out = each if s is None else apart(s)
        if many > ALL * self.images:
            x = self.whole()
            every = apart(block.join(block.body(x), x if s is None else s))
            for row in rows:
                out[row] = every[row]
        elif rows:
            if self.step > 1:
                rows = rows + rows[:1] * (-many % self.step)  # fillers
            part = _together(each, rows)
            y = apart(block.join(block.body(part), part if s is None else _together(out, rows)))
            for k in range(many):
                out[rows[k]] = y[k]
        self._each, self._whole = out, None


def _together(each: list[Tensor], rows: list[int]) -> Tensor:
    return each[rows[0]] if len(rows) == 1 else torch.cat([each[row] for row in rows])


def apart(x: Tensor) -> list[Tensor]:
    """Its images, each (1, C, H, W), views. The quickest of torch's splits: 2 microseconds for eight."""
    return [x] if x.shape[0] == 1 else list(x.split_with_sizes([1] * x.shape[0]))


def past(steps: Steps, x: Tensor) -> Iterator[Tensor]:
    """What the gates read when all decide before the first gated block (execution="decide_first"): the way past all of them,
    shortcuts alone; a block without a gate runs. x: what the first gate sees. Normalised by the running statistics, in training
    too: this way must leave no trace in the statistics of the other. It costs the shortcuts once more, on CIFAR SkipNets two
    1x1 convolutions (0.3 % of ResNet-38), on nets with ungated blocks in between (MobileNetV2) those blocks."""
    for block, gate in dropwhile(lambda step: step[1] is None, steps):
        if gate is not None:
            yield x
        with evaluating(block) if block.training else nullcontext():
            x = block(x) if gate is None else block.shortcut(x)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode inside; every submodule's own training flag as before afterwards."""
    flags = [(m, m.training) for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for m, flag in flags:
            m.training = flag
