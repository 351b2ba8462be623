"""A process that takes trials until the study is complete: study/start.py begins it.

It searches (study/searcher.py), then trains finalists, then measures them side by side. All it knows comes from FOLDER's
settings and the storage, so it may be killed at any moment and started again.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

import optuna

from hardware.meter import Meter
from study.estimate import estimate
from study.final_session import measure_side_by_side
from study.finalists import queue_finalists, train_finalists
from study.folder import SETTINGS
from study.halving import Halving
from study.ledger import Ledger, url_of_ledger
from study.reuse import Reuse
from study.rungs import Plan
from study.searcher import Searcher
from study.settings import Settings
from study.starts import head_start
from study.storing.patience import Patience
from study.storing.secret import STORAGE
from study.storing.storage import CONTROL, alone, open_storage, open_study, url_of
from study.tracking import tracker
from study.trial import Bench
from trainers.data import load

OWN = ("random", "pareto_gp")  # samplers without such edits: one draws, the other has the front's neighbours among its candidates
WAIT_S = 0.2


def searched(searcher: Searcher, storage: optuna.storages.RDBStorage) -> None:
    """The search of one study, with halving to its end."""
    if (plan := Plan.of(searcher.bench.settings)) is None:
        return searcher.run()
    halving = Halving(searcher.study, storage, searcher.bench, plan)
    searcher.meanwhile = halving.step
    searcher.run()
    halving.run()


def _ledger_url(settings: Settings, folder: Path) -> str:
    """With the password, which the settings in the folder are without."""
    return (os.environ.get(STORAGE) if settings.storage else None) or url_of_ledger(settings, folder)


def main(folder: Path, index: int) -> None:
    """All stages of one worker."""
    settings = Settings.read(folder / SETTINGS)
    patience = Patience(tell=print)
    storage = open_storage(os.environ.get(STORAGE) or url_of(settings, folder), patience)
    study = open_study(storage, settings.name, ["maximize", "minimize"])
    d = settings.data
    data = load(d["name"], path=d["path"], fraction=d["fraction"], crop=d["crop"], flip=d["flip"])
    track = tracker(settings, folder)
    with Meter.of(settings.hardware) as meter:
        bench = Bench(settings, data, meter)
        if settings.ledger:
            bench.reuse = Reuse(Ledger(_ledger_url(settings, folder), settings.name), bench)
        if plan := Plan.of(settings):
            bench.until, bench.checkpoints = plan.rungs[0], folder / "checkpoints"
        # with `worker=` every process may be the only one yet: each does what is not done
        lead = index == 0 or settings.worker is not None
        if lead and "estimate" not in study.user_attrs:
            study.set_user_attr("val_n", data.val_images)
            study.set_user_attr("estimate", estimate(bench, study))
        while "estimate" not in study.user_attrs:
            time.sleep(WAIT_S)
        sampler = settings.sampler["name"]
        searched(Searcher(study, bench, sampler, index, "search", track, edits=sampler not in OWN), storage)
        if settings.control:
            control = open_study(storage, settings.name + CONTROL, ["maximize", "minimize"])
            sampler = "random" if settings.control == "random" else sampler
            if lead and settings.control == "macs":
                with alone(storage, settings.name):
                    head_start(control, study)
            searched(Searcher(control, bench, sampler, index, "control", track, edits=sampler not in OWN), storage)
        with alone(storage, settings.name) if lead else contextlib.nullcontext():
            finals = queue_finalists(study, storage, bench, lead)
        train_finalists(finals, bench, folder, track)
        if lead:
            measure_side_by_side(finals, bench, folder)
    track.close()
