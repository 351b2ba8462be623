"""`report.py table=classics`: the lecture's tables recomputed, then every classic net: counted, published, trained here, measured
here. Counting needs torch and comes from study/measuring/lecture.py; this puts it beside what lies in the output folders."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from analysis.aligned import aligned
from analysis.clocks import of_net, of_setting, read_clocks, settings
from analysis.document import Table, three
from analysis.mobilenet_tables import number, table_1, table_2, table_8, table_9
from analysis.trained import read_trained
from searchspace.published import canonical, published

ORDER = ("nets", "trained")
STAGES = {"sp": "SP", "hrl": "SP+HRL", "supervised": "at once", "none": ""}


def classics_text(facts: dict[str, pd.DataFrame], outputs: Path) -> str:
    """All tables. facts: as of study.measuring.lecture.classics(). StudyError for a file below `outputs` that cannot be read."""
    clocks, trained, nets = read_clocks(outputs), read_trained(outputs), facts["nets"]
    parts = [
        ("MobileNetV1, Table 1: the body", table_1(facts["body"])),
        ("MobileNetV1, Table 2: mult-adds and parameters by layer type", table_2(facts["types"])),
        ("MobileNetV1, Table 8: 1.0 MobileNet-224 and popular nets", table_8(nets)),
        ("MobileNetV1, Table 9: 0.50 MobileNet-160 and smaller popular nets", table_9(nets, facts["at_227"])),
        ("The classics: counted, published, trained here", _nets(nets, trained)),
        ("Trained here (each data set's own test images, opened once a net and seed)", _trained(trained)),
        ("Latency here, ms a call with its 95 % interval", _latency(nets, clocks)),
    ]
    return "\n\n".join(f"{title}\n\n{text}" for title, text in parts)


def _nets(nets: pd.DataFrame, trained: pd.DataFrame) -> str:
    sources: dict[str, int] = {}
    rows, slips, missing = [], [], []
    for net in nets.to_dict("records"):
        printed = published(net["net"])
        accuracy = source = ""
        if printed:
            kept = "" if printed.kept is None else f" @ {printed.kept:.1f} % of blocks"
            accuracy = f"{printed.top1:g}{kept}" + ("" if printed.data == "ImageNet" else f" ({printed.data})")
            source = f"[{sources.setdefault(printed.source, len(sources) + 1)}]"
            slips += [f"{net['net']}: {printed.slip}."] if printed.slip else []
        missing += [f"{net['net']}: {net['why']}"] if net["why"] else []
        size = "" if pd.isna(net["resolution"]) else f"{net['resolution']:.0f}"
        macs, params = number(net["macs_m"], net["why"]), number(net["params_m"], net["why"], 2)
        printed_macs = f"{printed.macs_m:g}" if printed and printed.macs_m else ""
        rows.append((net["net"], size, macs, printed_macs, params, accuracy, source, _ours(net["net"], trained)))
    head = ("net", "px", "M mult-adds", "printed", "M parameters", "published top-1 %", "from", "top-1 % here")
    lines = [aligned(Table(head, tuple(rows), frozenset({1, 2, 3, 4})))]
    lines += [f"[{i}] {source}" for source, i in sources.items()]
    lines += [f"Slip: {slip}" for slip in slips]
    return "\n".join([*lines, *(f"Not here: {why}" for why in missing)])


def _ours(name: str, trained: pd.DataFrame) -> str:
    """The tested accuracies of a net, one a data set and recipe."""
    mine = trained[trained["net"] == canonical(name)]
    return "; ".join(f"{_mean(row)} ({_on(row)})" for row in mine.to_dict("records")) or "not trained"


def _mean(row: dict) -> str:
    return f"{row['top1_test']:.2f}" + ("" if pd.isna(row["sd"]) else f" ± {row['sd']:.2f}")


def _on(row: dict) -> str:
    share = "" if row["fraction"] == 1 else f", {row['fraction']:.0%} of it"
    stage = STAGES.get(row["stage"], row["stage"])
    return f"{row['data']} {row['resolution']} px{share}" + (f", {stage}" if stage else "")


def _trained(trained: pd.DataFrame) -> str:
    if trained.empty:
        return "No net is trained here yet: python train.py net=mobilenet_v1-0.25 data=fashion_mnist"
    rows = []
    for row in trained.to_dict("records"):
        kept = "" if pd.isna(row["keep_rate"]) else f"{100 * row['keep_rate']:.1f}"
        alpha = "" if pd.isna(row["skip_alpha"]) else f", skip_alpha {row['skip_alpha']:g}"
        stage = STAGES.get(row["stage"], row["stage"]) + alpha
        rows.append(
            (row["net"], f"{row['data']} {row['resolution']} px", f"{row['fraction']:.0%}", stage, _mean(row), str(row["seeds"]),
             str(row["epochs"]), kept, f"{row['macs_m']:.2f}", f"{row['params_m']:.3f}")
        )  # fmt: skip
    head = ("net", "data", "share", "stage", "test top-1 %", "seeds", "epochs", "blocks kept %", "M mult-adds", "M parameters")
    return aligned(Table(head, tuple(rows), frozenset({2, 4, 5, 6, 7, 8, 9})))


def _latency(nets: pd.DataFrame, clocks: pd.DataFrame) -> str:
    measured = settings(clocks)
    rows, busy, used = [], False, []
    for setting, name in measured.items():
        mine, cells = of_setting(clocks, setting), []
        for net in nets.to_dict("records"):
            row = None if net["why"] else of_net(mine, net["net"], net["macs_m"])
            cells.append("" if row is None else _clock(row))
            busy = busy or (row is not None and bool(row["busy"]))
        if any(cells):
            used.append(name)
            rows.append(cells)
    if not used:
        return "None of them is measured here yet: python measure.py nets=classics"
    shown = [
        (net, *(c or "not measured" for c in cells)) for net, *cells in zip(nets["net"], *rows, strict=True) if net is not None
    ]
    head = ("net", *(f"({i})" for i in range(1, len(used) + 1)))
    lines = [aligned(Table(head, tuple(shown), frozenset(range(1, len(head)))))]
    lines += [f"({i}) {name}" for i, name in enumerate(used, 1)]
    if not any(str(setting[0]).startswith("cuda") for setting in measured):
        lines.append("GPU: not measured here (python measure.py nets=classics hardware=gpu).")
    return "\n".join([*lines, *(["* the machine was busy meanwhile: measure again."] if busy else [])])


def _clock(row: pd.Series) -> str:
    kept = "" if pd.isna(row["keep_rate"]) else f", keeps {row['keep_rate']:.2f}"
    return f"{three(row['latency_ms'])} ({three(row['low_ms'])}-{three(row['high_ms'])}{kept})" + ("*" if row["busy"] else "")
