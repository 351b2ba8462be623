"""What the trainings of SkipNet say, in sentences computed from the rows, with what can be told and what cannot.

A difference of top-1 has a 95 % half-width from two sources, added in squares: 1.96 standard errors of two binomials (the
test images; cautious, because both nets see the same ones), and t standard errors of the differences over the seeds that both
nets have. With one seed the second is not known, and the sentence says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from statistics import fmean, stdev

from scipy.special import stdtrit

from analysis.document import signed, three
from analysis.effects import SAME, judge_accuracy
from analysis.skipnet import SWEPT, DataSet, Row
from analysis.skipnet_cards import CONTROLS, Trained

SAME_ACCURACY = 0.5  # points within which SkipNet's paper speaks of the same accuracy (section 4)
SAME_RATE = 0.02  # keep rates this near are one rate
SAME_COST = 0.01  # as a share of mult-adds


@dataclass(frozen=True)
class Difference:
    """First net less second, a mean over `n` pairs of trainings: `points` of top-1 with its 95 % half-width, and mult-adds of
    the first as a share of the second's."""

    points: float
    half: float
    cost: float
    n: int

    @property
    def verdict(self) -> str:
        """better, worse, or not distinguishable."""
        return judge_accuracy(self.points, self.half)

    def __str__(self) -> str:
        return f"{signed(self.points, 2)} ± {self.half:.2f} points, {self.n} seed{'s' * (self.n != 1)}"


def difference(pairs: list[tuple[Trained, Trained]]) -> Difference:
    """Over at least one pair of trainings."""
    apart = [a.top1 - b.top1 for a, b in pairs]
    n, images = len(pairs), 0.0
    for nets in zip(*pairs):
        seen = min(t.images for t in nets)
        share = (fmean(t.top1 for t in nets) / 100 * seen + 1) / (seen + 2)  # Agresti and Coull 1998, as in effects.py
        images += share * (1 - share) / seen * 100**2
    seeds = float(stdtrit(n - 1, 0.975)) * stdev(apart) / math.sqrt(n) if n > 1 else 0.0
    cost = fmean(a.macs_m for a, _ in pairs) / fmean(b.macs_m for _, b in pairs)
    return Difference(fmean(apart), math.sqrt(1.96**2 * images + seeds**2), cost, n)


def by_seed(first: Row, second: Row) -> Difference | None:
    """Of two rows over the seeds that they share; None where they share none."""
    theirs = {t.seed: t for t in second.trained}
    pairs = [(t, theirs[t.seed]) for t in first.trained if t.seed in theirs]
    return difference(pairs) if pairs else None


def by_parent(row: Row, control: Row) -> Difference | None:
    """Of a row and its control, each net with the control made from it."""
    pairs = _parents(row, control)
    return difference(pairs) if pairs else None


def _parents(row: Row, control: Row) -> list[tuple[Trained, Trained]]:
    mine = {t.folder: t for t in row.trained}
    return [(mine[c.control_of], c) for c in control.trained if c.control_of in mine]


def judged(data: DataSet) -> list[str]:
    """The paragraphs of one data set: the whole first, then each gated net, then what limits all of them."""
    lines = _whole(data)
    for row in data.rows:
        if row.stage in ("none", *CONTROLS):
            continue
        said = [_against_sp(data, row)] if row.stage == "hrl" else []
        said += _against_plain(data, row) if row.stage in SWEPT else []
        for control in data.controls(row, "random"):
            said += _against_random(row, control)
        for control in data.controls(row, "static"):
            said += _against_twin(row, control, data.setting)
        said += _against_others(row) + _constant(row)
        said += ["One seed: how far seeds lie apart is not known, and not in the ±."] if said and row.seeds == 1 else []
        lines += [f"{row.label}: {' '.join(said)}"] if said else []
    return [*lines, _limits(data)]


def _whole(data: DataSet) -> list[str]:
    """Whether HRL computes less at the same accuracy, and whether the choice of blocks is worth anything, over all nets."""
    lines = []
    after = [(r, d) for r in data.rows if r.stage == "hrl" and (b := data.before(r)) and (d := by_seed(r, b))]
    if after:
        good = [r for r, d in after if d.cost < 1 and d.points >= -SAME_ACCURACY]
        lines.append(
            f"Less computed after HRL than after SP at no more than {SAME_ACCURACY:g} points lower accuracy: "
            + _who(good, [r for r, _ in after])
        )
    luck = [(r, d) for r in data.rows for c in data.controls(r, "random") if (d := by_parent(r, c))]
    if luck:
        good = [r for r, d in luck if d.verdict == "better"]
        lines.append("Better than skipping at random, by more than chance: " + _who(good, [r for r, _ in luck]))
    return lines


def _who(good: list[Row], asked: list[Row]) -> str:
    if len(good) == len(asked):
        return f"yes, for {_names(asked)}."
    bad = [r for r in asked if r not in good]
    return f"yes for {_names(good)}; no for {_names(bad)}." if good else f"no, not for {_names(bad)}."


def _names(rows: list[Row]) -> str:
    return "; ".join(dict.fromkeys(r.label for r in rows))


def _against_sp(data: DataSet, row: Row) -> str:
    before = data.before(row)
    found = by_seed(row, before) if before else None
    if before is None or found is None:
        return f"There is no {row.net} after SP alone of the same seed to compare with."
    within = "within" if found.points >= -SAME_ACCURACY else "not within"
    points = f"at {abs(found.points):.2f} points {'lower' if found.points < 0 else 'higher'} accuracy ({found})"
    line = (
        f"After HRL it {_computes(found.cost, 'after SP')}, {points}: "
        f"{within} the {SAME_ACCURACY:g} points that the paper counts as the same"
    )
    return line + _clock(row, before, "SP", data.setting) + "."


def _against_plain(data: DataSet, row: Row) -> list[str]:
    plain = data.plain(row)
    found = by_seed(row, plain) if plain else None
    if plain is None or found is None:
        return []
    line = f"It {_computes(found.cost, plain.net)}, which has no gates ({found})"
    return [line + _clock(row, plain, plain.net, data.setting) + "."]


def _against_random(row: Row, control: Row) -> list[str]:
    found = by_parent(row, control)
    if found is None:
        return []
    says = {"better": "It beats", "worse": "It does not beat, but loses to,"}.get(found.verdict, "It cannot be told apart from")
    rates = (row.mean("keep_rate"), control.mean("keep_rate"))
    same = abs(rates[0] - rates[1]) <= SAME_RATE
    at = "at the same rate" if same or any(map(math.isnan, rates)) else f"at another rate ({rates[0]:.0%} against {rates[1]:.0%})"
    return [f"{says} random skipping {at} ({found})."]


def _against_others(row: Row) -> list[str]:
    """The net with each image's decisions handed to another image: the same work, chosen for somebody else."""
    pairs = [(t, replace(t, top1=t.top1_others)) for t in row.trained if not (math.isnan(t.top1_others) or t.constant)]
    if not pairs:
        return []
    found = difference(pairs)
    means = "its choice suits the image" if found.verdict == "better" else "that its choice suits the image cannot be told"
    others = fmean(b.top1 for _, b in pairs)
    return [f"By the decisions of another image it reaches {others:.2f} % (its own: {found}): {means}."]


def _constant(row: Row) -> list[str]:
    """What is no skipping by image, whatever the numbers."""
    same = [t for t in row.trained if t.constant]
    if not same:
        return []
    where = "" if row.seeds == 1 else f"In {len(same)} of {row.seeds} seeds "
    if all(min(t.keep_by_gate) == 1 for t in same):
        line = f"{where}its gates are always open: it skips nothing."
    else:
        line = f"{where}its decisions do not depend on the image: each gate is always open or always closed."
    return [line[:1].upper() + line[1:]]


def _against_twin(row: Row, control: Row, setting: str) -> list[str]:
    if not (pairs := _parents(row, control)):
        return []
    found = difference(pairs)
    # of the seeds that have a twin alone: the means of all would not differ by what is told of the pairs
    row, control = replace(row, trained=tuple(a for a, _ in pairs)), replace(control, trained=tuple(b for _, b in pairs))
    cheaper = found.cost < 1 - SAME_COST  # the gated net
    dearer = found.cost > 1 + SAME_COST
    verdict = found.verdict
    if verdict == "better":
        means = "deciding for each image is worth accuracy here" + ("" if not dearer else ", at more mult-adds")
    elif verdict == SAME:
        means = (
            "the gated net computes less, and the accuracies cannot be told apart" if cheaper
            else "deciding for each image shows no gain over it"
        )  # fmt: skip
    else:
        means = "the gated net computes less at lower accuracy" if cheaper else "the twin is the better net"
    line = (
        f"Its static twin (the blocks that it keeps more than half of the time, trained alone) reaches "
        f"{control.mean('top1'):.2f} %, "
        f"the gated net {row.mean('top1'):.2f} % ({found}) and {_computes(found.cost, 'the twin')}: {means}"
    )
    return [line + _clock(row, control, "the twin", setting) + "."]


def _computes(cost: float, other: str) -> str:
    """`cost`: mult-adds as a share of the other's."""
    if abs(1 - cost) < 0.0005:
        return f"computes as much as {other}"
    return f"computes {100 * abs(1 - cost):.1f} % {'less' if cost < 1 else 'more'} than {other}"


def _clock(row: Row, other: Row, name: str, setting: str) -> str:
    """Both latencies, where they were measured with the same setting, and whether their intervals overlap."""
    if {t.setting for t in (*row.trained, *other.trained)} != {setting} or not setting:
        return ""
    (low, high), (least, most) = row.interval_ms(), other.interval_ms()
    if any(map(math.isnan, (low, high, least, most))):
        return ""
    told = "faster" if high < least else "slower" if low > most else f"{SAME}: the intervals overlap"
    return f"; {three(row.mean('latency_ms'))} ms where {name} takes {three(other.mean('latency_ms'))} ({told})"


def _limits(data: DataSet) -> str:
    """What a reader must not read out of these numbers."""
    images = min(r.first.images for r in data.rows)
    share = max(t.top1 for r in data.rows for t in r.trained) / 100
    error = 100 * math.sqrt(share * (1 - share) / images)
    alone = [r for r in data.rows if r.seeds == 1]
    line = (
        f"Limits: on {images:,} test images a top-1 of {100 * share:.1f} % has a standard error of {error:.2f} points, so two "
        f"nets less than {1.96 * math.sqrt(2) * error:.2f} points apart cannot be told apart by one training each"
    )
    if alone:
        line += f"; {len(alone)} of {len(data.rows)} rows have one seed, and one seed says little"
    return line + ". Latencies of separate sessions differ by some per cent for that alone."
