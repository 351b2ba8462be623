"""Study -> one tidy record: tables with the units in the column names. Nowhere else in this room is storage read.

    record = read("sqlite:///outputs/demo/study.db", "demo")
    record.trials        # one row a trial, the columns of trials.csv
    record.finalists     # one row a net, means over seeds, latencies measured side by side

It only reads (by way of opening.py and stored.py); a running, empty or failed study is a record too.
Top-1 is in percent, latency in milliseconds, mult-adds and parameters in millions.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import yaml
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from analysis import tables
from analysis.front import write_csv as write_csv
from analysis.halving import merged, rung_rows, rung_table
from analysis.opening import StudyError as StudyError
from analysis.opening import opened, shown, trials_of
from analysis.tables import COLUMNS as COLUMNS
from analysis.tables import FINALISTS as FINALISTS

STATES = ("COMPLETE", "FAIL", "PRUNED", "RUNNING")  # a WAITING trial is a plan, no row


OF_FINALISTS, OF_CONTROL, OF_HALVING = ".finalists", ".control", ".halving"  # studies that belong to the one before the dot
PARTS = (OF_FINALISTS, OF_CONTROL, OF_HALVING)


@dataclass(frozen=True, eq=False)  # one is itself: what was worked out of it is kept by it (effects.py)
class Record:
    """Everything a report needs of one study. `phase`: empty, searching, finalists or finished (a study that was
    interrupted looks like one that runs). `choices`: the columns of `trials` after the fixed ones."""

    name: str
    settings: dict[str, Any]
    machine: dict[str, Any]
    trials: pd.DataFrame
    runs: pd.DataFrame  # one row a (finalist, seed)
    finalists: pd.DataFrame  # one row a finalist
    architectures: dict[str, dict[str, Any]]  # id -> Architecture.to_dict()
    anchors: dict[str, str]  # id -> the anchor's name
    choices: tuple[str, ...] = ()
    phase: str = "empty"
    ended: str = ""
    estimate: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    commit: str = ""
    space_size: int | None = None
    starts: int = 0  # searched nets that were anchors with some choices changed
    val_n: int | None = None  # validation images, where the study says so
    latency_session: dict[str, Any] = field(default_factory=dict)  # runtime, busy: of the side-by-side measurement
    parity: dict[str, float] = field(default_factory=dict)  # id -> |ONNX - torch| of the logits, relative
    regimes: dict[str, dict[str, Any]] = field(default_factory=dict)  # id -> name, of_peak, advice
    predictor: dict[str, float] = field(default_factory=dict)  # n, error, upper, tau of the latency predictor
    int8: dict[str, tuple[float, float]] = field(default_factory=dict)  # id -> val top-1 of the fp32 file and of the int8 file
    reused: dict[str, int] = field(default_factory=dict)  # study -> trainings (of trials and finalists) taken from the ledger
    latencies_reused: int = 0
    rungs: pd.DataFrame = field(default_factory=lambda: rung_table([]))  # one row a training of a halved net: halving.RUNGS

    @property
    def finished(self) -> bool:
        """Whether search and finalists are through."""
        return self.phase == "finished"

    @property
    def by_finalists(self) -> bool:
        """Whether conclusions rest on the finalists (else on the search's own trials)."""
        return self.finished and len(self.finalists) > 0


@dataclass(frozen=True)
class StudyName:
    """A study that is there; `phase` says why where it cannot be read."""

    name: str
    phase: str
    storage_url: str


def storage_of(folder: str | Path) -> str:
    """Where the study of an output folder lives: the `storage` it was given (config.yaml), else its own study.db."""
    folder = Path(folder)
    try:
        given = yaml.safe_load((folder / "config.yaml").read_text()).get("storage")
    except (OSError, AttributeError, yaml.YAMLError):
        given = None
    return str(given or f"sqlite:///{(folder / 'study.db').resolve()}")


def holds_study(folder: str | Path) -> bool:
    """Whether an output folder is a search's: it has a study.db, or its config.yaml names a storage of its own."""
    url = storage_of(folder)
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        return True  # `read` tells what is wrong with it
    return parsed.get_backend_name() != "sqlite" or Path(parsed.database or "").exists()


def read(storage_url: str, name: str) -> Record:
    """The study `name` (and `name.finalists`, where it exists). Raises StudyError; never creates or alters anything."""
    with opened(storage_url) as storage:
        return _read(storage, storage_url, name)


def list_studies(folder_or_url: str | Path) -> list[StudyName]:
    """The studies of a storage URL, or of all output folders below a folder (such as `outputs`), with their phase."""
    if "://" in str(folder_or_url):
        return _studies_of(str(folder_or_url))
    folders = sorted(p for p in Path(folder_or_url).glob("*") if (p / "study.db").exists() or (p / "config.yaml").exists())
    found: dict[tuple[str, str], StudyName] = {}
    for folder in folders:
        url = storage_of(folder)
        if not holds_study(folder):
            continue  # a training or a measurement
        try:
            found.update({(s.storage_url, s.name): s for s in _studies_of(url)})
        except (StudyError, SQLAlchemyError) as error:
            found[url, folder.name] = StudyName(folder.name, str(error), url)
    return list(found.values())


def _studies_of(url: str) -> list[StudyName]:
    with opened(url) as storage:
        names = [s.study_name for s in storage.get_all_studies() if not s.study_name.endswith(PARTS)]
        return [StudyName(name, _read(storage, url, name).phase, url) for name in sorted(names)]


def _read(storage: optuna.storages.RDBStorage, url: str, name: str) -> Record:
    studies = {s.study_name: s for s in storage.get_all_studies()}
    if name not in studies:
        there = ", ".join(sorted(n for n in studies if not n.endswith(PARTS))) or "none"
        raise StudyError(f"name: there is no study {name!r} in {shown(url)}; there is {there}")
    about = studies[name].user_attrs
    all_of = {name: trials_of(storage, studies[name]._study_id)}  # once: of ten thousand it takes seconds
    if name + OF_CONTROL in studies:
        all_of[name + OF_CONTROL] = trials_of(storage, studies[name + OF_CONTROL]._study_id)
    plan = (about.get("settings") or {}).get("halving")
    rows, rungs, all_trials = [], [], [t for every in all_of.values() for t in every]
    for study_name, every in all_of.items():
        tried = [t for t in every if _visible(t)]
        # the control's trials are numbered on, so that a number names one row
        offset = len(all_of[name]) if study_name != name else 0
        found = [_row(t, offset) for t in tried]
        if plan:
            part = studies.get(study_name + OF_HALVING)
            moved = trials_of(storage, part._study_id) if part else []
            all_trials += moved
            all_of_part = [(t.state.name, t.user_attrs) for t in moved if _visible(t)]
            rungs += rung_rows([(t.number + offset, t.state.name, t.user_attrs) for t in tried], all_of_part, offset)
        rows += found
    searched = tables.table([row for row, _ in rows], COLUMNS)
    if plan:
        rows = [(merged(row, rungs, plan["rungs"]), picked) for row, picked in rows]
    choices = tuple(sorted(dict.fromkeys(key for _, picked in rows for key in picked), key=_stage))
    trials = tables.table([{**row, **picked} for row, picked in rows], (*COLUMNS, *choices))
    architectures, anchors = _known(all_of[name])
    settings = dict(about.get("settings") or {})

    final = studies.get(name + OF_FINALISTS)
    late = final.user_attrs if final else {}
    latency: dict[str, dict[str, Any]] = late.get("latency") or {}
    runs = tables.table([], tables.RUNS)
    if final:
        tried = trials_of(storage, final._study_id)
        all_trials += tried
        runs = tables.table([{**t.user_attrs, "state": t.state.name} for t in tried if _visible(t)], tables.RUNS)
        more, more_anchors = _known(tried)
        architectures, anchors = {**more, **architectures}, {**more_anchors, **anchors}
    all_trials = [t for t in all_trials if _visible(t)]
    halving_goes_on = bool(plan and rows) and final is None
    return Record(
        name=name,
        settings=settings,
        machine=dict(about.get("machine") or {}),
        trials=trials,
        runs=runs,
        finalists=tables.finalists(runs, latency, trials),
        architectures=architectures,
        anchors=anchors,
        choices=choices,
        phase="searching" if halving_goes_on else tables.phase(searched, runs, latency, settings, str(about.get("ended") or "")),
        ended=str(about.get("ended") or ""),
        estimate=dict(about.get("estimate") or {}),
        command=str(about.get("command") or ""),
        commit=str(about.get("commit") or ""),
        space_size=about.get("space_size"),
        starts=int(about.get("starts") or 0),
        val_n=about.get("val_n"),
        latency_session={
            "runtime": " and ".join(dict.fromkeys(str(v["runtime"]) for v in latency.values() if v.get("runtime"))),
            "busy": any(v.get("busy") for v in latency.values()),
            "processes": max((int(v.get("processes") or 1) for v in latency.values()), default=1),
        },
        parity=dict(late.get("parity") or {}),
        regimes=dict(late.get("regime") or {}),
        predictor=dict(about.get("predictor") or {}),
        int8={i: (v["top1_val_fp32"], v["top1_val_int8"]) for i, v in latency.items() if "top1_val_int8" in v},
        reused=dict(Counter(str(t.user_attrs["reused_from"]) for t in all_trials if "reused_from" in t.user_attrs)),
        rungs=rung_table(rungs),
        latencies_reused=sum("latency_from" in t.user_attrs for t in all_trials),
    )


def _visible(trial: optuna.trial.FrozenTrial) -> bool:
    attrs = trial.user_attrs
    return trial.state.name in STATES and "duplicate_of" not in attrs and "withdrawn" not in attrs


def _row(trial: optuna.trial.FrozenTrial, offset: int = 0) -> tuple[dict[str, Any], dict[str, Any]]:
    attrs = trial.user_attrs
    row = {column: attrs.get(column) for column in COLUMNS}
    row["number"], row["state"] = trial.number + offset, trial.state.name
    return row, dict(attrs.get("choices", trial.params))


def _stage(choice: str) -> int:
    """Sorts choices: those of the whole net before those of stage 0 (`s0.kernel`), these before stage 1."""
    number = choice.split(".")[0].removeprefix("s")
    return int(number) if "." in choice and number.isdigit() else -1


def _known(trials: list[optuna.trial.FrozenTrial]) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    architectures, anchors = {}, {}
    for trial in trials:
        attrs = trial.user_attrs
        if _visible(trial) and attrs.get("id"):
            if attrs.get("architecture"):
                architectures[attrs["id"]] = dict(attrs["architecture"])
            if attrs.get("origin") == "anchor":
                anchors[attrs["id"]] = str(attrs.get("net") or attrs["id"])
    return architectures, anchors
