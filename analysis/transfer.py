"""Whether what a study found holds on other hardware: the latencies of its nets under several settings, compared.

    record = read("sqlite:///outputs/demo/study.db", "demo")
    t = transfer(record, read_measured("outputs/demo"))      # measured.csv is what `measure.py name=demo` wrote
    t.tau[0, 1], t.regret[0, 1]                              # of the search's own latencies and the first other setting

The first setting is the search's own. Between two settings, over the nets that both have:
tau      Kendall's rank correlation tau-b of the latencies (Kendall 1945, Biometrika 33(3), with ties): 1 one order, 0 none
swapped  pairs that change order by more than noise: their 95 % intervals are apart under both settings, in opposite order
regret   share of the hypervolume of (validation top-1, latency on B) that is lost when only the nets on A's front are kept;
         reference point 0 % and the slowest of the nets on B (a budget in ms means nothing on other hardware)
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from analysis.document import plain
from analysis.method import part
from analysis.pareto import front_mask, hypervolume
from analysis.records import Record, StudyError

SETTING = ("device", "runtime", "threads", "batch", "precision", "options", "machine")  # equal in all: one setting
NEEDED = ("id", *SETTING, "chip", "latency_ms", "low_ms", "high_ms", "busy", "measured_at")
CLOCK = ["latency_ms", "low_ms", "high_ms"]
HOLDS, PARTLY = 0.9, 0.7  # least tau of an order that we say holds, and of one that holds in part

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Transfer:
    """k settings compared, the search's own first. The matrices are (k, k), all but `regret` symmetric: `regret[a, b]` is of
    choosing by a and running on b, NaN without hypervolume; `common` counts nets, `swapped` pairs of them."""

    labels: tuple[str, ...]
    tau: Floats
    regret: Floats
    common: Ints
    swapped: Ints
    clocks: tuple[pd.DataFrame, ...]  # of each setting: index id of all trained nets; latency_ms, low_ms, high_ms or NaN
    busy: tuple[str, ...] = ()  # labels of settings that were measured on a busy machine


def read_measured(folder: str | Path) -> pd.DataFrame | None:
    """FOLDER/measured.csv; None where there is none. StudyError, one line, when it is another kind of table."""
    path = Path(folder) / "measured.csv"
    if not path.exists():
        return None
    try:
        table = pd.read_csv(path, dtype={"id": str}, keep_default_na=False, na_values={"keep_rate": [""]})
        if missing := [c for c in NEEDED if c not in table]:
            raise ValueError(f"it has no column {missing[0]}")
        table[CLOCK] = table[CLOCK].astype(float)
        if not (table["latency_ms"] > 0).all() or (table["id"] == "").any():
            raise ValueError("it has rows without an id or a latency above 0")
    except (ValueError, OSError) as error:  # pandas' own are ValueErrors
        why = " ".join(str(error).split())[:150]
        cure = f"move it away and measure again: python measure.py {shlex.quote(f'name={path.parent.name}')}"
        raise StudyError(f"{path} is no table of measurements ({why}); {cure}") from None
    return table.drop_duplicates(["id", *SETTING], keep="last")


def own_latency(record: Record) -> pd.DataFrame:
    """Index id, each trained net once (a control's net that the search trained, too, by the search's trial): top1_val in %,
    latency_ms, low_ms, high_ms as the search saw them. A gated net's latency hangs on its weights: where the finalists'
    stage measured those that it saved, that is its latency here, for measured.csv is about them."""
    done = record.trials[record.trials["state"] == "COMPLETE"].drop_duplicates("id").set_index("id")
    table = done[["top1_val", "latency_ms", "latency_low_ms", "latency_high_ms"]].set_axis(["top1_val", *CLOCK], axis=1)
    final = record.finalists.set_index("id")
    final = final[final["latency_ms"].notna() & final["keep_rate"].notna()]
    both = table.index.intersection(final.index)
    table.loc[both, CLOCK] = final.loc[both, ["latency_ms", "latency_low_ms", "latency_high_ms"]].to_numpy()
    return table


def transfer(record: Record, measured: pd.DataFrame | None) -> Transfer:
    """Compares the search's own latencies with each setting of `measured`. StudyError when there are not two settings."""
    own = own_latency(record)
    if not own["latency_ms"].notna().any():
        raise StudyError("no net of it is trained yet: there is nothing to compare")
    groups = [] if measured is None else [g for _, g in measured.groupby(list(SETTING), sort=False, dropna=False)]
    groups = [g.set_index("id") for g in groups if g["id"].isin(own.index).any()]
    if not groups:
        raise StudyError(f"its nets are measured under one setting only; measure them under another: {_another(record)}")
    labels = _labels(record, [dict(g.iloc[0]) for g in groups])
    tables = [own, *(g.reindex(own.index) for g in groups)]
    k, top1 = len(tables), own["top1_val"].to_numpy()
    tau_, regret_ = np.full((k, k), np.nan), np.full((k, k), np.nan)
    common, swapped_ = np.zeros((k, k), dtype=np.int64), np.zeros((k, k), dtype=np.int64)
    for a, first in enumerate(tables):
        for b, second in enumerate(tables):
            both = (first["latency_ms"].notna() & second["latency_ms"].notna()).to_numpy() & ~np.isnan(top1)
            x, y = first.loc[both, CLOCK].to_numpy(dtype=float), second.loc[both, CLOCK].to_numpy(dtype=float)
            common[a, b], tau_[a, b] = both.sum(), tau(x[:, 0], y[:, 0])
            swapped_[a, b] = swapped(x[:, 1], x[:, 2], y[:, 1], y[:, 2])
            regret_[a, b] = regret(top1[both], x[:, 0], y[:, 0])
    busy = tuple(label for label, g in zip(labels[1:], groups) if (g["busy"].astype(str) == "True").any())
    return Transfer(labels, tau_, regret_, common, swapped_, tuple(t[CLOCK] for t in tables), busy)


def tau(first: ArrayLike, second: ArrayLike) -> float:
    """Kendall's tau-b of two lists (n,); NaN when one of them has no two different values. All pairs, O(n^2)."""
    a, b = (np.sign(np.subtract.outer(v, v)) for v in (np.asarray(first, dtype=float), np.asarray(second, dtype=float)))
    pairs = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / pairs if pairs else float("nan")


def swapped(low: ArrayLike, high: ArrayLike, other_low: ArrayLike, other_high: ArrayLike) -> int:
    """Pairs of nets, intervals (n,) under two settings, of which one is faster here and slower there, each time clearly."""
    here, there = (np.less.outer(np.asarray(h), np.asarray(lo)) for lo, h in ((low, high), (other_low, other_high)))
    return int((here & there.T).sum())


def regret(top1: ArrayLike, first: ArrayLike, second: ArrayLike) -> float:
    """Share of the hypervolume of (top1, second) that the nets on the front of (top1, first) do not reach; (n,) each, first
    and second in ms. NaN where there is none: one net, or all equally slow."""
    accuracy, slow = np.asarray(top1, dtype=float), np.asarray(second, dtype=float)
    point = (0.0, float(slow.max(initial=0.0)))
    whole = hypervolume(accuracy, slow, point)
    kept = front_mask(accuracy, first)
    return max(0.0, 1 - hypervolume(accuracy[kept], slow[kept], point) / whole) if whole > 0 else float("nan")


def _own_setting(record: Record) -> dict[str, Any]:
    hardware = part(record.settings, "hardware")
    device = str(hardware.get("device") or ("cuda" if hardware.get("name") == "gpu" else "cpu"))
    chip = str(record.machine.get("gpu" if device == "cuda" else "cpu") or "")
    known = {k: hardware.get(k, "?") for k in ("runtime", "threads", "batch")}
    unusual = {
        "channels_last=false": hardware.get("channels_last", True) is False,
        "flush_l2=true": hardware.get("flush_l2", False),
    }
    options = " ".join(word for word, said in unusual.items() if said)  # as study/measuring/remeasure.py writes it
    precision = str(hardware.get("precision") or "fp32")
    return {"device": device, "chip": chip, "precision": precision, "options": options, "machine": "", **known}


def _labels(record: Record, others: Sequence[dict[str, Any]]) -> tuple[str, ...]:
    """Names of the search's own setting and of others, a row of each; chip and precision only where they differ."""
    own = _own_setting(record)
    rows = [own, *others]
    several = {k: len({str(r[k]) for r in rows}) > 1 for k in ("chip", "device", "precision")}

    def words(r: dict[str, Any]) -> str:
        parts = [plain(r["runtime"])]
        if r["device"] == "cpu":  # threads of the host say nothing of a GPU's time
            parts.append(f"{r['threads']} thread{'' if r['threads'] == 1 else 's'}")
        parts.append(f"batch {r['batch']}")
        parts += [plain(r["precision"])] if several["precision"] else []
        parts += [plain(r["options"])] if r["options"] else []
        return (f"{plain(r['chip'] or r['device'])}: " if several["chip"] or several["device"] else "") + ", ".join(parts)

    told = [words(r) + (" (the search)" if r is own else "") for r in rows]
    return tuple(w if told.count(w) == 1 else f"{w}, {plain(r['machine'])}" for w, r in zip(told, rows))


def _another(record: Record) -> str:
    """A command that measures under a setting that is not the search's own."""
    own = _own_setting(record)
    key = "hardware=gpu hardware.batch=8" if own["device"] == "cuda" else f"hardware.threads={1 if own['threads'] == 2 else 2}"
    return f"python measure.py {shlex.quote(f'name={record.name}')} {key}"
