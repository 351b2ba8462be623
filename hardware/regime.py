"""Which lever works here at all: is this net, on this device, bound by launches, by memory or by arithmetic?

    r = regime(meter, architecture)           # about 10 s: the net, twice as wide, one block a stage deeper, four images at once
    r.name, r.advice                          # "launch", "depth costs here (x1.31 for x1.30 of the mult-adds), ..."

Answered by growth, not by a data sheet: time with four images at once over time with one, time of the twin with all widths
doubled, time of the twin with the last block of each stage doubled, and mult-adds a second against the most that this runtime
was measured to reach here (a wide 3x3 convolution).

launch     four images cost less than twice one: most of the time does not depend on the amount of work
compute    at least half of the measured peak
bandwidth  the rest: work costs, but arithmetic is not what it waits for
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from hardware.meter import Meter
from searchspace.architecture import Architecture, Head, Stage
from searchspace.complexity import count

IMAGES_AT_ONCE = 4
LAUNCH_BELOW, COMPUTE_ABOVE = 2.0, 0.5
NEARLY_FREE = 0.35  # growth of time over growth of mult-adds, both as logarithms


@dataclass(frozen=True)
class Regime:
    """Growths are factors of the net's own time (of its mult-adds for `*_macs`); `of_peak` is a share."""

    name: str
    batch_growth: float
    width_growth: float
    width_macs: float
    depth_growth: float
    depth_macs: float
    of_peak: float

    @property
    def advice(self) -> str:
        """One sentence."""
        cost = {
            "width": (self.width_growth, self.width_macs, "twice the width"),
            "depth": (self.depth_growth, self.depth_macs, "a block more a stage"),
        }
        said = []
        for lever, (time, macs, what) in cost.items():
            share = math.log(max(time, 1.0)) / math.log(macs)
            how = "is nearly free" if share <= NEARLY_FREE else "costs as its mult-adds do" if share >= 0.85 else "costs in part"
            said.append(f"{lever} {how} ({what}: x{time:.2f} the time for x{macs:.2f} the mult-adds)")
        at_once = self.batch_growth / IMAGES_AT_ONCE
        return "; ".join(said) + f"; {IMAGES_AT_ONCE} images at once take x{at_once:.2f} the time an image"


def classify(batch_growth: float, of_peak: float) -> str:
    """launch, compute or bandwidth; see the rules above."""
    if batch_growth < LAUNCH_BELOW:
        return "launch"
    return "compute" if of_peak >= COMPUTE_ABOVE else "bandwidth"


def wider(a: Architecture) -> Architecture:
    """All widths doubled, image and classes as they are."""
    blocks = lambda s: tuple(replace(b, out=2 * b.out, hidden=2 * b.hidden, se=2 * b.se) for b in s.blocks)  # noqa: E731
    head = Head(2 * a.head.conv, 2 * a.head.hidden, a.head.activation)
    stem = replace(a.stem, out=2 * a.stem.out)
    return replace(a, stem=stem, stages=tuple(Stage(blocks(s)) for s in a.stages), head=head)


def deeper(a: Architecture) -> Architecture:
    """The last block of each stage once more, without stride."""
    return replace(a, stages=tuple(Stage((*s.blocks, replace(s.blocks[-1], stride=1))) for s in a.stages))


def peak_gmacs(meter: Meter) -> float:
    """The most mult-adds a second (in billions) that this runtime reaches here, on a wide 3x3 convolution."""
    wide = nn.Sequential(nn.Conv2d(128, 128, 3, padding=1), nn.ReLU(), nn.Conv2d(128, 128, 3, padding=1))
    (row,) = meter.measure([wide], input_shape=(1, 128, 28, 28))
    return count(wide, (1, 128, 28, 28)).macs * row.batch / row.latency_ms / 1e6


def regime(meter: Meter, architecture: Architecture, peak: float | None = None) -> Regime:
    """Of a net at the meter's setting; gated nets are judged by their ungated twins. `peak`: of `peak_gmacs`, measured when not
    given. Raises MeasureError."""
    return regimes(meter, [architecture], peak)[0]


def regimes(meter: Meter, architectures: Sequence[Architecture], peak: float | None = None) -> list[Regime]:
    """Of several nets, their variants interleaved in one session."""
    plain = [a.without_gates() for a in architectures]
    variants = [v for a in plain for v in (a, wider(a), deeper(a))]
    rows = meter.measure(variants)
    four = replace(meter.setting, batch=meter.batch * IMAGES_AT_ONCE)
    with Meter(**four.to_dict(), **meter.protocol) as several:
        at_once = several.measure(plain)
    peak = peak_gmacs(meter) if peak is None else peak
    found = []
    for i, many in enumerate(at_once):
        one, wide, deep = (r.latency_ms for r in rows[3 * i : 3 * i + 3])
        macs, wide_macs, deep_macs = (count(v).macs for v in variants[3 * i : 3 * i + 3])
        of_peak = macs * meter.batch / one / 1e6 / peak
        growth = many.latency_ms / one
        found.append(
            Regime(classify(growth, of_peak), growth, wide / one, wide_macs / macs, deep / one, deep_macs / macs, of_peak)
        )
    return found
