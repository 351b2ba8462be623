"""The main job: anchors -> search -> finalists -> report. The parent process; workers do the work (study/worker.py).

Every stage resumes: what is in the storage is kept, and the same command goes on.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from study.display import Display, display
from study.folder import SETTINGS
from study.ledger import told
from study.prepare import anchors_of, check_engine, prepare, refuse, space_of_data
from study.progress import Watch, clock
from study.settings import Settings
from study.storing.given_back import give_back_dead
from study.storing.patience import Patience, PatientStorage, StorageGone
from study.storing.presence import Presence
from study.storing.reaper import Reaper
from study.storing.storage import (
    Studies,
    alone,
    of_states,
    open_storage,
    open_study,
    over,
    url_of,
)
from study.tracking import check_login
from study.workers import Workers, WorkerStopped

POLL_S = 1.0
LARGE, STARTING_S = 1000, 60.0  # trials; the longest that the display waits for the first net of such a study


def search(settings: Settings, folder: Path, workers: Workers) -> str:
    """Runs or resumes the study of `folder` and returns its storage's URL. `workers` are held until it is prepared. SettingsError
    for what cannot be used, StorageGone when the storage was away for too long or the disk is full."""
    check_login(settings.logger)
    space = space_of_data(settings)
    url = url_of(settings, folder)
    anchors, notes = anchors_of(settings, space)
    check_engine(settings, space)
    with display() as show:
        # a study that goes on may find its server in the middle of a restart; a new one may have been given a wrong address
        storage = open_storage(url, Patience(tell=show.note) if (folder / SETTINGS).exists() else None)
        storage.patience.tell = show.note
        with alone(storage, settings.name):
            study = open_study(storage, settings.name, ["maximize", "minimize"])
            refuse(settings, study)
            prepare(settings, folder, storage, study, space, anchors, notes, show)
        try:
            _work(settings, folder, storage, study, workers, show)
        except WorkerStopped as error:
            raise StorageGone(str(error)) from None
    return url


def _what_it_costs(estimate: dict[str, Any]) -> str:
    search, finalists, nets = (estimate.get(k) for k in ("search_s", "finalists_s", "nets_timed"))
    if search is None or finalists is None:
        return "How long this will take cannot be told: no net could be timed beforehand"
    source = f", estimated from a few training steps of {nets} nets" if nets else ""
    return f"This will take about {clock(search + finalists)} (search {clock(search)}, finalists {clock(finalists)}){source}"


def _starting(studies: Iterable[optuna.Study], since: float) -> bool:
    """Whether no worker has a net yet: reading a large study takes a core that they start on."""
    running = (t for s in studies for t in of_states(s, TrialState.RUNNING))
    return time.monotonic() - since < STARTING_S and not any("id" in t.user_attrs for t in running)


def _work(settings: Settings, folder: Path, storage: PatientStorage, study: optuna.Study, workers: Workers,
          show: Display) -> None:  # fmt: skip
    """Workers until everything is done; the display meanwhile."""
    started, told_estimate, finished = time.monotonic(), False, 0
    many = len(workers.indices)
    show.note(f"{settings.name}: {settings.n_trials} nets of {study.user_attrs['space_size']:.3g}, {many} "
              f"worker{'s' * (many > 1)}, {platform.node()}; starting takes some seconds")  # fmt: skip
    seen, watch = Studies(storage, settings.name), Watch(settings)
    reaper = Reaper(storage)
    with Presence(folder) as here:
        workers.release()
        quiet = over(study) > LARGE
        while not workers.done:
            here.touch()
            studies = seen.look()
            if workers.check():
                for s in studies.values():
                    # without a name it may be a living one's that is still choosing; those of the dead end later (reaper.py)
                    give_back_dead(s, settings.storage is None and many == 1)
            reaper.look(studies.values())
            if not told_estimate and (estimate := studies[""].user_attrs.get("estimate")):
                told_estimate = True
                show.note(_what_it_costs(estimate))
            if quiet := quiet and _starting(studies.values(), started):
                time.sleep(POLL_S)
                continue
            state = watch.look(studies)
            if watch.over != finished:
                finished = watch.over
                workers.progress()
            if told_estimate:
                show.update(state)
            time.sleep(POLL_S)
        studies = seen.look()
        show.update(watch.look(studies))
    if ended := study.user_attrs.get("ended"):
        show.note(f"The search ended early: {ended}.")
    if line := told(studies.values()):
        show.note(line)
    show.note(f"Done in {clock(time.monotonic() - started)}.")
