"""What the lecture's tables and figures need counted, as plain rows for analysis, which knows no torch (report.py hands them on).

    classics()   # {"body": layers of MobileNetV1, "types": its mult-adds by type, "nets": the classics, counted, ...}
    gates()      # {"gates": a row each gate of SkipNet-38 and -110: its mult-adds and those that skipping its block saves}
    figures()    # {"mobilenets": ..., "blocks": ...}

All is counted on the meta device: some seconds, most of them imports. Nothing is measured or trained here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import torch

from searchspace.anchors import LISTS, UnknownNet, anchor
from searchspace.architecture import ArchitectureError
from searchspace.complexity import count
from searchspace.inputs import input_of, own_resolution
from searchspace.layers import layers
from searchspace.named import resolve
from searchspace.published import MOBILENETS, TABLE_8, TABLE_9, canonical, usual_resolution

BODY = "mobilenet_v1"
GATED = {"ff1": (38, 110), "ff2": (38, 110), "rnn": (38, 110)}  # depths of the CIFAR nets whose gates are counted
AT_227 = "torchvision:squeezenet1_0"  # its paper's images have 227 pixels; torchvision's, and what is measured here, 224
NETS = ("net", "resolution", "macs_m", "convs_m", "params_m", "weights_m", "why")


def classics() -> dict[str, pd.DataFrame]:
    """body: type, stride, filter, size_in, macs, weights a layer; types: type, macs, weights; nets: columns NETS, a row each of
    the classics, the nets of Tables 8 and 9 and some variants; at_227: SqueezeNet once more, at its paper's size."""
    counted = count(anchor(BODY))
    types = [{"type": kind, "macs": part.macs, "weights": part.weights} for kind, part in counted.by_type.items()]
    variants = ("alexnet-ungrouped", "torchvision:alexnet", *(f"shufflenet_v1-g{g}" for g in (1, 2, 3, 4, 8)))
    names = dict.fromkeys(canonical(name) for name in (*LISTS["classics"], *TABLE_8, *TABLE_9, *variants))
    nets = [counted_net(name) for name in names]
    return {
        "body": pd.DataFrame([vars(layer) for layer in layers(anchor(BODY))]),
        "types": pd.DataFrame(types),
        "nets": pd.DataFrame(nets, columns=list(NETS)),
        "at_227": pd.DataFrame([counted_net(AT_227, 227)], columns=list(NETS)),
    }


def figures() -> dict[str, pd.DataFrame]:
    """mobilenets: columns NETS, every MobileNet of which an accuracy is published, at its size; blocks: as of
    study.measuring.pieces.counted_blocks()."""
    from study.measuring.pieces import counted_blocks  # knows the meter, which no table needs

    nets = pd.DataFrame([counted_net(name) for name in MOBILENETS], columns=list(NETS))
    return {"mobilenets": nets, "blocks": counted_blocks()}


def counted_net(name: str, resolution: int | None = None) -> dict[str, Any]:
    """A row of NETS, in millions; where a net is not here, `why` says so and the numbers are NaN."""
    row: dict[str, Any] = {**dict.fromkeys(NETS, float("nan")), "net": name, "why": ""}
    try:
        with torch.device("meta"):
            net = resolve(name, resolution)
    except (UnknownNet, ArchitectureError, ImportError) as error:
        return row | {"why": str(error)}
    shape = input_of(net, resolution or usual_resolution(name))
    c = count(net, shape)
    return row | {
        "resolution": own_resolution(net) or (shape[2] if shape else 0),
        "macs_m": c.macs / 1e6,
        "convs_m": (c.macs - c.by_type["linear"].macs) / 1e6,
        "params_m": c.params / 1e6,
        "weights_m": c.weights / 1e6,
    }


def gates() -> dict[str, pd.DataFrame]:
    """gates: columns design, depth, width_in (of the gate's input), width (of the block), size (pixels of the map that the block
    gives), gate_macs, saved_macs (what skipping the block saves: the shortcut stays), net_macs (of the net without gates)."""
    rows = []
    for design, depths in GATED.items():
        for depth in depths:
            a = anchor(f"skipnet_{depth}-{design}")
            c, plain = count(a), count(a.without_gates())
            size = a.resolution
            for i, block in enumerate(a.blocks):
                size = -(-size // block.stride)
                if i not in c.gates:
                    continue
                rows.append(
                    {
                        "design": design,
                        "depth": depth,
                        "width_in": a.widths_in[i],
                        "width": block.out,
                        "size": size,
                        "gate_macs": c.gates[i].macs,
                        "saved_macs": c.by_block[i].macs - c.shortcuts[i],
                        "net_macs": plain.macs,
                    }
                )
    return {"gates": pd.DataFrame(rows)}


# what report.py asks for, by key and value
FACTS: dict[tuple[str, str], Callable[[], dict[str, pd.DataFrame]]] = {
    ("table", "classics"): classics,
    ("table", "gates"): gates,
    ("figure", "classics"): figures,
}
