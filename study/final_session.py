"""The last measurement of a study: all saved nets interleaved in some fresh processes, when nothing trains any more.

With it goes what only a quiet device can tell: which lever works here for the nets that the report will speak of (hardware/
regime.py), and with precision=int8 what the nets lose in accuracy. All of it is written to the study and to each net's card.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from hardware.errors import MeasureError
from hardware.export import ExportError
from hardware.machine import has_vnni
from hardware.meter import Latency
from hardware.subject import pixels_for
from searchspace import card
from searchspace.architecture import Architecture
from study.finalists import candidate_of
from study.folder import put
from study.storing.storage import is_alive, is_row, mine
from study.trial import CALIBRATION, Bench, Candidate

WAIT_S = 0.5
PROCESSES = 3  # that measure: each has a bias of its own
ASKED = 2  # nets whose regime is told: the most accurate and the fastest
JUDGED = 2000  # images at most that int8's accuracy is told from


def measure_side_by_side(finals: optuna.Study, bench: Bench, folder: Path) -> None:
    """Once a study; another leading worker that is at it is waited for."""
    done = {t.user_attrs["id"]: t.user_attrs for t in finals.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
            if is_row(t) and t.user_attrs["seed"] == 0}  # fmt: skip
    while True:
        if {*finals.user_attrs.get("latency", {}), *finals.user_attrs.get("unmeasured", {})} >= set(done):
            return
        if not is_alive(finals.user_attrs.get("measurer", {})):
            break
        time.sleep(WAIT_S)
    finals.set_user_attr("measurer", mine())
    nets: dict[str, Any] = {}
    absent = {}
    for net_id, attrs in done.items():
        saved = folder / "nets" / net_id
        if (saved / "architecture.json").exists():
            nets[net_id] = card.load(saved)
        elif (candidate := candidate_of(attrs)).gated:
            absent[net_id] = f"{saved} is not on this machine, and untrained gates decide otherwise"
        else:
            nets[net_id] = bench.make(candidate, 0)
    rows, unmeasured = measured(bench, nets)
    unmeasured |= absent
    latency = {net_id: latency_row(r) for net_id, r in rows.items()}
    if bench.meter.setting.precision == "int8":
        for net_id in latency:
            latency[net_id] |= int8_accuracy(bench, folder / "nets" / net_id)
    finals.set_user_attr("unmeasured", unmeasured)
    finals.set_user_attr("regime", levers(bench, {i: done[i] for i in latency}, latency))
    finals.set_user_attr("parity", {i: a["parity"] for i, a in done.items()})
    finals.set_user_attr("latency", latency)
    for net_id, row in latency.items():
        update_card(folder / "nets" / net_id, row)


def measured(bench: Bench, nets: Mapping[str, Any]) -> tuple[dict[str, Latency], dict[str, str]]:
    """Latencies by id, and why others have none: one that cannot be measured is taken out, and the others go again."""
    left = dict(nets)
    unmeasured: dict[str, str] = {}
    shape = bench.input_shape(Candidate())  # of modules that do not say theirs
    while left:
        try:
            rows = bench.meter.measure(
                list(left.values()), input_shape=shape, images=bench.images(deployed=True), mean=bench.data.mean,
                std=bench.data.std, processes=PROCESSES, calibration=bench.calibration(),
            )  # fmt: skip
            return dict(zip(left, rows, strict=True)), unmeasured
        except MeasureError as error:
            ids = list(left)
            for i, why in error.bad.items():
                unmeasured[ids[i]] = why
                del left[ids[i]]
    return {}, unmeasured


def levers(bench: Bench, done: Mapping[str, Mapping[str, Any]], latency: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """id -> name, share of the measured peak and one sentence of advice, of the most accurate net and of the fastest; less where
    a twin cannot be measured."""
    from hardware.regime import peak_gmacs, regimes

    known = [i for i, attrs in done.items() if "architecture" in attrs]
    asked = sorted(known, key=lambda i: -done[i]["top1_val"])[:1] + sorted(known, key=lambda i: latency[i]["latency_ms"])[:1]
    asked = list(dict.fromkeys(asked))[:ASKED]
    try:
        peak = peak_gmacs(bench.meter) if asked else 0.0
        found = regimes(bench.meter, [Architecture.from_dict(done[i]["architecture"]) for i in asked], peak) if asked else []
    except MeasureError:  # a twin of double width may need more memory than there is
        return {}
    return {i: {"name": r.name, "of_peak": r.of_peak, "advice": r.advice} for i, r in zip(asked, found, strict=True)}


def int8_accuracy(bench: Bench, saved: Path) -> dict[str, Any]:
    """Val top-1 of a saved net's file in fp32 and in int8, on the same (at most 2,000) images; keeps the int8 file beside the
    fp32 one. Nothing for nets that cannot be quantised, and for data that streams."""
    from hardware.int8 import quantised, top1

    if not (saved / "model.onnx").exists() or not isinstance(getattr(bench.data, "val", None), tuple):
        return {}
    onnx_bytes = (saved / "model.onnx").read_bytes()
    x, y = bench.data.val
    size = json.loads((saved / "card.json").read_text())["data"]["resolution"]
    shape = (1, bench.data.channels, size, size)
    pixels = pixels_for(x[:JUDGED].permute(0, 3, 1, 2), shape)
    try:
        onnx_int8 = quantised(onnx_bytes, pixels_for(bench.data.sample(CALIBRATION, train=True), shape), has_vnni())
        found = {"top1_val_fp32": top1(onnx_bytes, pixels, y[:JUDGED]), "top1_val_int8": top1(onnx_int8, pixels, y[:JUDGED])}
    except ExportError:
        return {}
    put(saved / "model.int8.onnx", onnx_int8)
    return found


def latency_row(r: Latency) -> dict[str, Any]:
    """A latency as it stands in the storage and in cards; of a gated net at batch 1 with its spread over images."""
    spread = {k: v for k, v in r.spread.to_dict().items() if k != "mean_ms"} if r.spread else {}  # the mean is latency_ms
    return {
        "latency_ms": r.latency_ms,
        "low_ms": r.low_ms,
        "high_ms": r.high_ms,
        "n": r.n,
        "runtime": r.runtime,
        "busy": r.busy,
        "keep_rate": r.keep_rate,
        "threads": r.threads,
        "batch": r.batch,
        "precision": r.precision,
        "machine": r.machine,
        "least_ms": r.least_ms,
        "pace": r.pace,
        "logits_differ": r.parity,
        "engine": r.engine,
        "processes": r.processes,
        "process": r.process,
        "clock_mhz": r.clock_mhz,
        **spread,
    }


def update_card(folder: Path, latency: dict[str, Any]) -> None:
    """Writes the latency into a saved net's card, where it is in this folder."""
    path = folder / "card.json"
    if not path.exists():
        return
    put(path, json.dumps({**json.loads(path.read_text()), "latency": latency}, indent=1) + "\n")
