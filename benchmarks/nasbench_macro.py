"""NAS-Bench-Macro (Su et al., CVPR 2021, arXiv:2103.11922): 6,561 = 3^8 nets of MobileNetV2 blocks, each trained on CIFAR-10.

    table = Macro.read(PATH)                 # the published accuracies and sizes
    table.architecture("02012100")           # the net as our blocks make it: its mult-adds and parameters are the published ones
    latencies(table, sample, measured_ms)    # additive model of measured nets for all, ms, and its R2 on held-out nets

Digits by layer: 0 identity (where shape changes, a 1x1 convolution), 1 expansion 3 kernel 3, 2 expansion 6 kernel 5.
"""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

CHANNELS, STRIDES = (64, 64, 128, 128, 128, 256, 256, 256), (2, 1, 2, 1, 1, 2, 1, 1)
CHOICES = {"1": (3, 3), "2": (6, 5)}  # expansion, kernel


@dataclass(frozen=True)
class Macro:
    """Columns by net: top1 (%, mean of three trainings), macs, params."""

    nets: list[str]
    top1: np.ndarray
    macs: np.ndarray
    params: np.ndarray

    @staticmethod
    def read(path: Path) -> Macro:
        with gzip.open(path, "rt") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: row["arch"])
        columns = [np.array([float(row[key]) for row in rows]) for key in ("mean_acc", "flops", "params")]
        return Macro([row["arch"] for row in rows], *columns)

    @staticmethod
    def architecture(net: str) -> Any:
        """The net as a value of this project."""
        from searchspace.architecture import Architecture, Block, Head, Stage, Stem

        stages, channels = [], 32
        for digit, out, stride in zip(net, CHANNELS, STRIDES):
            if digit in CHOICES:
                expansion, kernel = CHOICES[digit]
                stages.append(Stage((Block("inverted", out, stride, kernel, channels * expansion, 0, "relu6"),)))
            elif stride > 1:
                stages.append(Stage((Block("projection", out, stride, 1, 0, 0, "relu6"),)))
            channels = out
        return Architecture(Stem(32, 3, 1, "relu6"), tuple(stages), Head(1280, 0, "relu6"), 32, 10, 3, "", None)


def design(nets: list[str]) -> np.ndarray:
    """(n, 17): one, and which layer is which block."""
    return np.array([[1.0, *(float(net[i] == c) for i in range(8) for c in "12")] for net in nets])


def latencies(table: Macro, sample: list[str], measured_ms: np.ndarray, folds: int = 10) -> tuple[np.ndarray, float]:
    """ms of all nets by least squares on the sample (relative errors), and R2 of the prediction of held-out nets."""
    x, y = design(sample), np.asarray(measured_ms)

    def fitted(rows: np.ndarray) -> np.ndarray:
        return np.linalg.lstsq(x[rows] / y[rows, None], np.ones(len(rows)), rcond=None)[0]

    held = np.empty(len(y))
    for k in range(folds):
        out = np.arange(len(y)) % folds == k
        held[out] = x[out] @ fitted(np.flatnonzero(~out))
    r2 = 1 - float(((held - y) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    return design(table.nets) @ fitted(np.arange(len(y))), r2
