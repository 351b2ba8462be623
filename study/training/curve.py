"""curve.csv of a training: one row an epoch, across interruptions."""

from __future__ import annotations

import csv
from pathlib import Path

from study.folder import put


class Curve:
    """`rows`: (stage, epoch, val top-1 in percent), as far as the training got."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: list[tuple[str, int, float]] = []
        if path.exists():
            with open(path) as file:
                self.rows = [(r["stage"], int(r["epoch"]), float(r["top1_val"])) for r in csv.DictReader(file)]

    def add(self, stage: str, epoch: int, top1: float) -> None:
        """An epoch that is trained again, after an interruption, replaces its row."""
        self.rows = [*(r for r in self.rows if r[0] != stage or r[1] < epoch), (stage, epoch, top1)]
        put(self.path, "stage,epoch,top1_val\n" + "".join(f"{s},{e},{t}\n" for s, e, t in self.rows))
