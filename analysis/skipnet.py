"""SkipNet's trainings as rows: means over seeds, controls beside their net, by data set.

sets = data_sets(read_trainings(Path("outputs")))      # one DataSet a data set and resolution
row = sets[0].rows[0]; row.mean("top1"), row.sd("top1"), row.seeds
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean, stdev

from analysis.records import StudyError
from analysis.skipnet_cards import CONTROLS, STAGES, Trained
from searchspace.architecture import GATES

SWEPT = ("supervised", "hrl")  # stages that skip_alpha acts on: SP's loss is the cross-entropy alone
TRAIN = "python train.py net=skipnet_20-rnn trainer=skipnet data=fashion_mnist"


@dataclass(frozen=True)
class Row:
    """The trainings of one net by one recipe, one a seed. `of`: the row that a control belongs to."""

    net: str
    stage: str
    skip_alpha: float  # NaN where it does not act
    trained: tuple[Trained, ...]
    of: Row | None = None
    differs: str = ""  # what tells its recipe from that of a row with the same net, stage, alpha and epochs

    @property
    def first(self) -> Trained:
        return self.trained[0]

    @property
    def seeds(self) -> int:
        return len(self.trained)

    def mean(self, key: str) -> float:
        """Mean over the seeds that have `key`; NaN where none has."""
        values = self._values(key)
        return fmean(values) if values else math.nan

    def sd(self, key: str) -> float:
        """Standard deviation between seeds; NaN below two."""
        values = self._values(key)
        return stdev(values) if len(values) > 1 else math.nan

    def _values(self, key: str) -> list[float]:
        return [v for t in self.trained if not math.isnan(v := float(getattr(t, key)))]

    @property
    def epochs(self) -> str:
        """Epochs of its stage; HRL's come on top of SP's."""
        return f"+{self.first.epochs}" if self.stage == "hrl" else str(self.first.epochs)

    def interval_ms(self) -> tuple[float, float]:
        """From the lowest to the highest bound of the 95 % intervals of its seeds' latencies."""
        lows, highs = self._values("low_ms"), self._values("high_ms")
        return (min(lows), max(highs)) if lows and highs else (math.nan, math.nan)

    @property
    def label(self) -> str:
        """`skipnet_20-rnn after SP+HRL, skip_alpha 0.1`."""
        alpha = "" if math.isnan(self.skip_alpha) else f", skip_alpha {self.skip_alpha:g}"
        stage = {"none": "", "supervised": ", supervised"}.get(self.stage, f" after {STAGES[self.stage]}")
        return f"{self.net}{stage}{alpha}" + (f" ({self.differs})" if self.differs else "")


@dataclass(frozen=True)
class DataSet:
    """The rows of one data set at one resolution, controls behind their net. `setting`: what most latencies were measured
    with; `repeats`: trainings left out because another of the same net, recipe and seed is counted."""

    name: str
    resolution: int
    rows: tuple[Row, ...]
    setting: str
    repeats: tuple[str, ...] = ()

    def plain(self, row: Row) -> Row | None:
        """The net without gates that `row` is to be compared with."""
        return self.best([r for r in self.rows if r.stage == "none" and r.net == plain_name(row.net)], row)

    def before(self, row: Row) -> Row | None:
        """The net after SP that HRL began with."""
        return self.best([r for r in self.rows if r.stage == "sp" and r.net == row.net], row)

    def controls(self, row: Row, stage: str) -> list[Row]:
        return [r for r in self.rows if r.stage == stage and r.of is row]

    @staticmethod
    def best(rows: Iterable[Row], like: Row) -> Row | None:
        """Of rows to compare with, that with the same share of the data, then most seeds in common, then the same recipe."""
        seeds = {t.seed for t in like.trained}

        def near(r: Row) -> tuple[int, bool, bool, int]:
            common = len(seeds & {t.seed for t in r.trained})
            return common, r.first.recipe == like.first.recipe, r.first.epochs == like.first.epochs, r.seeds

        same = [r for r in rows if r.first.fraction == like.first.fraction]
        return max(same, key=near) if same else None


def plain_name(net: str) -> str:
    """`skipnet_20-rnn` -> `resnet_20`, `mobilenet_v2-0.5-rnn` -> `mobilenet_v2-0.5`."""
    return "-".join(part for part in net.replace("skipnet_", "resnet_").split("-") if part not in GATES)


def data_sets(trained: Iterable[Trained]) -> list[DataSet]:
    """The rows by data set, those with a gated net only. Of plain nets those that are some gated net's twin, and ResNets."""
    every = list(trained)
    found = []
    for name, resolution in sorted({(t.data, t.resolution) for t in every}):
        mine = [t for t in every if (t.data, t.resolution) == (name, resolution)]
        gated = {t.net for t in mine if t.stage not in ("none", *CONTROLS)}
        twins = {plain_name(net) for net in gated}
        if gated:
            mine = [t for t in mine if t.stage != "none" or t.net in twins or t.net.startswith("resnet_")]
            rows, repeats = _rows(mine)
            settings = Counter(t.setting for t in mine if t.setting)
            found.append(DataSet(name, resolution, rows, settings.most_common(1)[0][0] if settings else "", repeats))
    if not found:
        raise StudyError(f"there is no training of a gated net yet; begin with {TRAIN}")
    return found


def _rows(trained: list[Trained]) -> tuple[tuple[Row, ...], tuple[str, ...]]:
    groups: dict[tuple, dict[int, Trained]] = {}
    repeats = []
    by_folder = {t.folder: t for t in trained}
    for t in trained:
        group = groups.setdefault(_key(t, by_folder), {})
        if t.seed in group:
            repeats.append(group[t.seed].folder)
        group[t.seed] = t
    rows: dict[tuple, Row] = {}
    order = list(STAGES)
    for key, group in sorted(groups.items(), key=lambda item: (item[1][min(item[1])].stage in CONTROLS, str(item[0]))):
        seeds = tuple(group[seed] for seed in sorted(group))
        first = seeds[0]
        of = rows.get(_key(by_folder[first.control_of], by_folder)) if first.control_of in by_folder else None
        net = of.net if of else first.net
        alpha = of.skip_alpha if of else first.skip_alpha if first.stage in SWEPT else math.nan
        others = [k for k in groups if k != key and k[:-1] == key[:-1]]
        told = {word for k in others for word in k[-1]}
        differs = ", ".join(word for word in key[-1] if word not in told) if others else ""
        rows[key] = Row(net, first.stage, alpha, seeds, of, differs)

    def place(r: Row) -> tuple:
        head = r.of or r
        alpha = -1.0 if math.isnan(head.skip_alpha) else head.skip_alpha
        return (head.stage != "none", plain_name(head.net), head.net, order.index(head.stage), alpha, head.first.fraction,
                head.first.epochs, head.differs, r.stage in CONTROLS, order.index(r.stage))  # fmt: skip

    return tuple(sorted(rows.values(), key=place)), tuple(repeats)


def _key(t: Trained, by_folder: dict[str, Trained]) -> tuple:
    """What trainings have in common that differ by their seed alone; the recipe comes last."""
    parent = by_folder.get(t.control_of)
    of = _key(parent, by_folder) if parent is not None and parent.stage not in CONTROLS else ()
    alpha = t.skip_alpha if t.stage in SWEPT and not math.isnan(t.skip_alpha) else -1.0
    return (of, "" if of else t.net, t.stage, -1.0 if of else alpha, t.fraction, t.epochs, t.recipe)
