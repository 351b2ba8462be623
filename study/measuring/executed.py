"""What images cost a gated net, for people: a line below the table of measure.py, and the rows of executed.csv.

Both read rows of sidebyside.measured, whose `spread` is hardware.spread.Spread or None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from hardware.spread import Spread

LISTED = 9  # different numbers of blocks that a line lists; of more it gives the range
COLUMNS = ("net", "executed", "gates", "images", "share", "mean_ms", "images_of", "measured_at")


def lines(rows: Iterable[Mapping[str, Any]], what: str) -> list[str]:
    """One a gated net. `what`: the images, as study.measuring.images.Images.what ("digits images", "noise")."""
    found = []
    for row in rows:
        if (spread := row["spread"]) is not None:
            on = f"{spread.images} {what if what != 'noise' else 'images of noise'}"
            found.append(
                f"{row['net']} on {on}: mean {spread.mean_ms:.3g} ms, p50 {spread.p50_ms:.3g}, p95 {spread.p95_ms:.3g}; "
                f"executed blocks of {spread.gates}: {_counts(spread)}"
            )
        elif row["keep_rate"] is not None and row["batch"] > 1:
            found.append(f"{row['net']}: p50, p95 and executed blocks are of single images: measure with hardware.batch=1")
    return found


def _counts(spread: Spread) -> str:
    """`3 (12 %), 4 (55 %)`; of many `20 to 41, half of the images 29 to 34`."""
    seen = {k: n for k, n in enumerate(spread.executed) if n}
    if len(seen) <= LISTED:
        return ", ".join(f"{k} ({_percent(n / spread.images)})" for k, n in seen.items())
    each = np.repeat(list(seen), list(seen.values()))
    low, high = np.quantile(each, (0.25, 0.75), method="nearest")
    return f"{min(seen)} to {max(seen)}, half of the images {low} to {high}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "<1 %"


def table(rows: Iterable[Mapping[str, Any]], what: str) -> pd.DataFrame:
    """A row each number of executed blocks that occurs, of each gated net; without one no rows."""
    found = []
    for row in rows:
        spread = row["spread"]
        for k, n in enumerate(spread.executed if spread else ()):
            if n:
                found.append(
                    {
                        "net": row["net"],
                        "executed": k,
                        "gates": spread.gates,
                        "images": n,
                        "share": n / spread.images,
                        "mean_ms": spread.ms_by_executed[k],
                        "images_of": what.removesuffix(" images"),
                        "measured_at": row["measured_at"],
                    }
                )
    return pd.DataFrame(found, columns=list(COLUMNS))
