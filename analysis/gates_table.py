"""`report.py table=gates`: what SkipNet's gates cost against the blocks that they may skip, beside what the paper says (section
3.1), computed from the built nets (study/measuring/lecture.py counts, for that needs torch)."""

from __future__ import annotations

import pandas as pd

from analysis.aligned import aligned, wrapped
from analysis.document import Table
from searchspace.published import GATE_SHARES, SLIPS

DESIGNS = {"ff1": "FFGate-I", "ff2": "FFGate-II", "rnn": "RNNGate"}
OF_PAPER = {"ff1": 38, "ff2": 110, "rnn": 110}  # the depth for which the paper uses a design


def gates_text(facts: dict[str, pd.DataFrame]) -> str:
    """The tables and what they say in words. facts["gates"]: as of study.measuring.lecture.gates()."""
    gates = facts["gates"].assign(share=lambda g: 100 * g["gate_macs"] / g["saved_macs"])
    kinds = list(dict.fromkeys((g["width_in"], g["width"], g["size"]) for g in gates.sort_values("width_in").to_dict("records")))
    rows = []
    for width_in, width, size in kinds:
        mine = gates[(gates["width_in"] == width_in) & (gates["width"] == width)]
        rows.append(
            (
                f"{width_in} -> {width}" + (" (transition)" if width_in != width else ""),
                f"{size} x {size}",
                f"{mine['saved_macs'].iloc[0]:,}",
                *(_percent(mine.loc[mine["design"] == design, "share"].iloc[0]) for design in DESIGNS),
            )
        )
    head = ("block (channels)", "map", "mult-adds that a skip saves", *(f"{name}, %" for name in DESIGNS.values()))
    by_block = aligned(Table(head, tuple(rows), frozenset(range(2, 6))))
    rows = []
    for (design, depth), mine in gates.groupby(["design", "depth"], sort=False):
        rows.append(
            (
                DESIGNS[design],
                f"skipnet_{depth}-{design}",
                str(len(mine)),
                _percent(100 * mine["gate_macs"].sum() / mine["saved_macs"].sum()),
                _percent(100 * mine["gate_macs"].sum() / mine["net_macs"].iloc[0]),
                f"{GATE_SHARES[design]:g}",
            )
        )
    head = ("gate", "net", "gates", "all gates over all that skips can save, %", "of the whole net, %", "paper, %")
    by_net = aligned(Table(head, tuple(rows), frozenset(range(2, 6))))
    return "\n\n".join(
        [
            "Mult-adds of a gate over those that skipping its block saves (its shortcut always runs)\n" + by_block,
            "Over all gates of a net, and against the whole net without gates\n" + by_net,
            wrapped(_said(gates)),
        ]
    )


def _percent(share: float) -> str:
    return f"{share:.2f}" if share >= 1 else f"{share:.4f}"


def _said(gates: pd.DataFrame) -> str:
    """The comparison with the paper in words."""
    same = gates[gates["width_in"] == gates["width"]].groupby("design")["share"]
    least, most = same.min(), same.max()
    across = gates[gates["width_in"] != gates["width"]].groupby("design")["share"].max()
    ff1 = gates[(gates["design"] == "ff1") & (gates["depth"] == OF_PAPER["ff1"])]
    whole = 100 * ff1["gate_macs"].sum() / ff1["net_macs"].iloc[0]
    printed, depth = GATE_SHARES, OF_PAPER["ff1"]
    return (
        f"FFGate-I: {SLIPS['ff1']}; they give {most['ff1']:.1f} % ({across['ff1']:.1f} % at a transition, whose gate reads half "
        f"the width on four times the pixels). SkipNet-{depth} with it saves nothing before it skips {whole:.0f} % of its "
        "mult-adds.\n"
        f"FFGate-II: {least['ff2']:.1f} % ({across['ff2']:.1f} % at a transition): the paper's {printed['ff2']:g} % is right.\n"
        f"RNNGate: {_short(least['rnn'])} to {_short(most['rnn'])} % by width: the paper's {printed['rnn']:g} % is of the right "
        "order, and high. The additions of the global pooling are not counted, as nowhere here."
    )


def _short(share: float) -> str:
    return f"{share:.3f}".lstrip("0")
