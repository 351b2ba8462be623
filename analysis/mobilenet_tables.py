"""MobileNetV1's Tables 1, 2, 8 and 9 (arXiv:1704.04861), recomputed beside what the paper prints, as the lecture shows them.

What is counted comes from study/measuring/lecture.py (the counting needs torch); what is printed from searchspace/published.py.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import pandas as pd

from analysis.aligned import aligned, wrapped
from analysis.document import Table
from searchspace.published import LAYER_TYPES, PUBLISHED, SLIPS, TABLE_8, TABLE_9

SPOKEN = {"conv1x1": "conv 1x1", "depthwise": "conv dw 3x3", "conv": "conv 3x3", "linear": "fully connected"}


def table_1(body: pd.DataFrame) -> str:
    """The body by layer; equal ones in a row stand once, with their number. body: lecture.classics()["body"]."""
    rows = [_layer(layer) for layer in body.to_dict("records")]
    shown = [(*cells[:3], f"{n} x" if n > 1 else "", cells[3]) for cells, n in _folded(rows)]
    table = Table(("type / stride", "filter shape", "input size", "", "M mult-adds"), tuple(shown), frozenset({3, 4}))
    total = (
        f"{len(body)} layers, {body['macs'].sum() / 1e6:.3f} M mult-adds in all (the paper: {PUBLISHED[TABLE_8[0]].macs_m:g} M)."
    )
    slip = f"{SLIPS['table_1'][0].upper()}{SLIPS['table_1'][1:]}."
    return f"{aligned(table)}\n{wrapped(f'{total} {slip}')}"


def _layer(layer: dict[Hashable, Any]) -> tuple[str, str, str, str]:
    kind = {"depthwise": "conv dw", "linear": "FC"}.get(layer["type"], "conv")
    shape = layer["filter"]
    if layer["type"] == "depthwise":
        shape = (*shape[:2], shape[3], "dw")
    sizes = [" x ".join(str(n) for n in numbers) for numbers in (shape, layer["size_in"])]
    return f"{kind} / s{layer['stride']}", sizes[0], sizes[1], f"{layer['macs'] / 1e6:.3f}"


def _folded(rows: Sequence[tuple[str, ...]]) -> list[tuple[tuple[str, ...], int]]:
    """Rows with how often they come: a pair of layers that follows on itself stands once (the paper's "5 x")."""
    found, i = [], 0
    while i < len(rows):
        pair, n = rows[i : i + 2], 1
        while len(pair) == 2 and rows[i + 2 * n : i + 2 * n + 2] == pair:
            n += 1
        found += [(row, n) for row in (pair if n > 1 else pair[:1])]
        i += 2 * n if n > 1 else 1
    return found


def table_2(types: pd.DataFrame) -> str:
    """Mult-adds and weights by layer type, in percent, the paper's beside. types: lecture.classics()["types"]."""
    macs, weights = types["macs"].sum(), types["weights"].sum()
    rows = []
    for kind in types.to_dict("records"):
        printed = LAYER_TYPES[kind["type"]]
        rows.append(
            (
                SPOKEN[kind["type"]],
                f"{kind['macs']:,}",
                f"{100 * kind['macs'] / macs:.2f}",
                f"{printed[0]:.2f}",
                f"{kind['weights']:,}",
                f"{100 * kind['weights'] / weights:.2f}",
                f"{printed[1]:.2f}",
            )
        )
    sums = [f"{sum(p[i] for p in LAYER_TYPES.values()):.2f}" for i in (0, 1)]
    rows.append(("all", f"{macs:,}", "100.00", sums[0], f"{weights:,}", "100.00", sums[1]))
    head = ("type", "mult-adds", "%", "paper %", "weights", "%", "paper %")
    off = [k for k in types.to_dict("records") if abs(100 * k["macs"] / macs - LAYER_TYPES[k["type"]][0]) >= 0.01]
    slip = "".join(
        f" {SLIPS['table_2'][0].upper()}{SLIPS['table_2'][1:]}; counted are {100 * k['macs'] / macs:.3f} %." for k in off
    )
    table = aligned(Table(head, tuple(rows), frozenset(range(1, 7))))
    said = f"Parameters as the paper counts them: no batch norm, no bias.{slip}"
    return f"{table}\n{wrapped(said)}"


def table_8(nets: pd.DataFrame) -> str:
    """1.0 MobileNet-224 beside GoogLeNet and VGG-16."""
    vgg = nets.set_index("net").loc["torchvision:vgg16"]
    said = (
        f"Of VGG-16 the convolutions alone take {vgg['convs_m']:.0f} M, which the paper rounds. torchvision's GoogLeNet has a "
        "3x3 convolution where the paper has 5x5."
    )
    return f"{_beside(nets, TABLE_8)}\n{wrapped(said)}"


def table_9(nets: pd.DataFrame, at_227: pd.DataFrame) -> str:
    """0.50 MobileNet-160 beside SqueezeNet and AlexNet, and what is wrong with SqueezeNet's mult-adds."""
    squeeze, own = at_227.iloc[0], nets.set_index("net").loc[TABLE_9[0]]
    printed = PUBLISHED[TABLE_9[1]].macs_m or float("nan")
    times = [macs_m / own["macs_m"] for macs_m in (squeeze["macs_m"], printed)]
    said = (
        f"SqueezeNet's {SLIPS['squeezenet']}: with its own 227 pixels it takes {squeeze['macs_m']:.1f} M mult-adds, "
        f"{2 * squeeze['macs_m']:.0f} M operations. So 0.50 MobileNet-160 needs {times[0]:.1f} times less, not "
        f"{times[1]:.0f} times."
    )
    by_name = nets.set_index("net")["macs_m"]
    if by_name.reindex(["alexnet", "alexnet-ungrouped"]).notna().all():
        two, one = by_name["alexnet"], by_name["alexnet-ungrouped"]
        said += (
            f"\nAlexNet is counted as printed in 2012, in two groups; without them it would take {one:.1f} M: grouping saves "
            f"{100 * (1 - two / one):.0f} %."
        )
    return f"{_beside(nets, TABLE_9)}\n{wrapped(said)}"


def _beside(nets: pd.DataFrame, names: Sequence[str]) -> str:
    by_name, rows = nets.set_index("net"), []
    for name in names:
        printed, c = PUBLISHED[name], by_name.loc[name]
        rows.append(
            (name, f"{printed.top1:g}", _number(printed.macs_m), number(c["macs_m"], c["why"]), _number(printed.params_m),
             number(c["weights_m"], c["why"], 2), number(c["params_m"], c["why"], 2))
        )  # fmt: skip
    head = ("net", "top-1 % (paper)", "M mult-adds (paper)", "counted", "M parameters (paper)", "weights", "with norm and bias")
    return aligned(Table(head, tuple(rows), frozenset(range(1, 7))))


def number(value: float, why: str = "", digits: int = 1) -> str:
    """A counted number, or that the net is not here."""
    return f"{value:.{digits}f}" if not pd.isna(value) else "not here" if why else ""


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
