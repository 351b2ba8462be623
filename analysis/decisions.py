"""What a gated net decides on the test images: which blocks it runs, for which images, for which classes.

    (net,) = read_decisions(Path("outputs/NAME"))      # of decisions_file.py
    net.by_loss(); net.correlation(); net.by_class(); net.findings()

The lecture's claim is that the number of skipped blocks depends on the input (SkipNet, arXiv:1711.09485, section 5, figures 7
to 9). It is tested here by the rank correlation of executed blocks with the loss, and first of all by looking whether the
decisions differ between images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

QUARTERS = ("easiest", "second", "third", "hardest")
ONE_PATH = 0.99  # share of images on one path from which on decisions "hardly" depend on the image
SLIGHT = 0.1  # rank correlations below this are slight, however sure
LEAST_CLASSES = 5  # for a correlation over classes

Floats = NDArray[np.float64]


class ClassRow(NamedTuple):
    """One class: n images, keep rate and accuracy as shares with their 95 % half-widths."""

    name: str
    n: int
    kept: float
    kept_half: float
    right: float
    right_half: float


@dataclass(frozen=True)
class Decisions:
    """One gated net on n images with g gates. `blocks`: position (from 0) of each gated block among all `n_blocks`; `borders`:
    positions where a stage begins, the first left out. Pictures (k, H, W, C) uint8 with their rows. `top1_others`: top-1 by the
    decisions of another image (NaN: not known)."""

    id: str
    name: str
    top1: float
    classes: tuple[str, ...]
    kept: NDArray[np.bool_]  # (n, g)
    loss: Floats  # (n,)
    label: NDArray[np.int64]  # (n,)
    predicted: NDArray[np.int64]  # (n,)
    easiest: NDArray[np.uint8]
    hardest: NDArray[np.uint8]
    easiest_row: NDArray[np.int64]
    hardest_row: NDArray[np.int64]
    blocks: tuple[int, ...]
    n_blocks: int
    borders: tuple[int, ...] = ()
    top1_others: float = math.nan
    by_chance: bool = False  # the control whose gates are coins

    @property
    def n(self) -> int:
        return len(self.kept)

    @property
    def gates(self) -> int:
        return self.kept.shape[1]

    @cached_property
    def executed(self) -> NDArray[np.int64]:
        """Gated blocks that ran, (n,)."""
        return self.kept.sum(axis=1, dtype=np.int64)

    @cached_property
    def paths(self) -> NDArray[np.int64]:
        """How many images take each path through the net, the commonest first."""
        counts = np.unique(np.packbits(self.kept, axis=1), axis=0, return_counts=True)[1]
        return np.sort(counts)[::-1].astype(np.int64)

    @property
    def depends(self) -> bool:
        """Whether the number of executed blocks differs between images."""
        return bool(self.executed.min() < self.executed.max())

    def by_loss(self) -> list[NDArray[np.int64]]:
        """Executed blocks of the images of each quarter of the loss, the easiest first."""
        return [self.executed[rows] for rows in np.array_split(np.argsort(self.loss, kind="stable"), len(QUARTERS))]

    def correlation(self) -> tuple[float, float, float]:
        """Spearman's rank correlation of executed blocks and loss with its 95 % interval; NaN where the blocks never differ."""
        return spearman(self.executed, self.loss)

    def by_class(self) -> list[ClassRow]:
        """The classes that have images, those that run the fewest blocks first."""
        rows = []
        for number, name in enumerate(self.classes):
            mine = self.label == number
            if n := int(mine.sum()):
                rate, right = self.executed[mine] / self.gates, self.predicted[mine] == number
                share = (float(right.sum()) + 1) / (n + 2)  # Agresti and Coull 1998
                wide = 1.96 * math.sqrt(share * (1 - share) / n)
                rows.append(ClassRow(name, n, float(rate.mean()), half(rate), float(right.mean()), wide))
        return sorted(rows, key=lambda r: r.kept)

    def findings(self) -> list[str]:
        """Sentences: whether the decisions depend on the image, how on its loss, and how on its class."""
        share = self.paths[0] / self.n
        if len(self.paths) == 1:
            which = f"the same {ran} of {self.gates}" if (ran := self.executed[0]) < self.gates else f"all {self.gates}"
            return [f"It runs {which} gated blocks for all {self.n:,} images: its decisions do not depend on the image."]
        if not self.depends:
            return [f"It always runs {self.executed[0]} of {self.gates} gated blocks, by {len(self.paths)} different paths: "
                    "how much it computes does not depend on the image."]  # fmt: skip
        lines = [f"{len(self.paths):,} different paths over {self.n:,} images, the commonest for {100 * share:.1f} % of them"]
        lines[0] += "; its decisions hardly depend on the image." if share >= ONE_PATH else "."
        if not math.isnan(self.top1_others):
            lines[0] += f" By another image's decisions its top-1 is {self.top1_others:.2f} %, by its own {self.top1:.2f} %."
        lines += ["Its gates are coins: what differs between images is chance."] if self.by_chance else []
        rho, low, high = self.correlation()
        first, last = (float(part.mean()) for part in (self.by_loss()[0], self.by_loss()[-1]))
        how = "more" if rho > 0 else "fewer"
        sure = not low <= 0 <= high
        said = f"Harder images run {how} blocks" if sure else "Executed blocks do not go with the loss"
        said += ", but only slightly" if sure and abs(rho) < SLIGHT else ""
        lines.append(
            f"{said}: {first:.2f} in the easiest quarter, {last:.2f} in the hardest; rank correlation {_told(rho, low, high)}."
        )
        table = self.by_class()
        if len(table) > 1:
            lines.append(_of_classes(table, self.gates))
        return lines


def _of_classes(table: Sequence[ClassRow], gates: int) -> str:
    least, most = table[0], table[-1]
    line = f"{least.name} runs the fewest blocks ({gates * least.kept:.2f}), {most.name} the most ({gates * most.kept:.2f})"
    rho, low, high = spearman([r.kept for r in table], [r.right for r in table])
    if len(table) >= LEAST_CLASSES and not math.isnan(rho):
        line += f"; over {len(table)} classes the rank correlation of keep rate and accuracy is {_told(rho, low, high)}"
        line += ", which does not leave 0 out" if low <= 0 <= high else ""
    return line[:1].upper() + line[1:] + "."


def _told(rho: float, low: float, high: float) -> str:
    interval = "" if math.isnan(low) else f"\u00a0[{low:.2f},\u00a0{high:.2f}]"
    return f"{rho:.2f}{interval}".replace("-", "−")


def half(values: ArrayLike) -> float:
    """95 % half-width of a mean, normal; NaN below two values."""
    x = np.asarray(values, dtype=float)
    return 1.96 * float(x.std(ddof=1)) / math.sqrt(len(x)) if len(x) > 1 else math.nan


def spearman(first: ArrayLike, second: ArrayLike) -> tuple[float, float, float]:
    """Rank correlation with mean ranks for ties, and its 95 % interval by Fisher's z with the variance (1 + rho²/2) / (n - 3) of
    Bonett and Wright 2000 (Psychometrika 65). NaN for a constant list; no interval (NaN) below four values and at ±1."""
    a, b = (pd.Series(v, dtype=float).rank().to_numpy() for v in (first, second))
    a, b = a - a.mean(), b - b.mean()
    norm = math.sqrt(float(a @ a) * float(b @ b))
    if norm == 0:
        return math.nan, math.nan, math.nan
    rho = float(a @ b) / norm
    if len(a) < 4 or abs(rho) > 1 - 1e-9:
        return rho, math.nan, math.nan
    z = math.atanh(rho)
    width = 1.96 * math.sqrt((1 + rho**2 / 2) / (len(a) - 3))
    return rho, math.tanh(z - width), math.tanh(z + width)
