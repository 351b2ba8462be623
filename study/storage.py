"""Where a study lives: opening it, comparing its settings, giving the trials of dead processes back.

SQLite in the output folder by default; any RDB URL. A trial carries the host and process that runs it: on this machine a
trial of a dead process is given back at once, on others the heartbeat does it (after two minutes).
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.trial import FrozenTrial, TrialState

from study.settings import Settings, SettingsError

HEARTBEAT_S, GRACE_S, MAX_RETRY = 60, 120, 2
FINALISTS, CONTROL, HALVING = ".finalists", ".control", ".halving"

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def url_of(settings: Settings, folder: Path) -> str:
    """The storage's URL: as given, or SQLite in the output folder."""
    return settings.storage or f"sqlite:///{(folder / 'study.db').resolve()}"


def open_storage(url: str) -> optuna.storages.RDBStorage:
    """SettingsError when it is no database; an existing file that is none stays as it is."""
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    if "://" not in url:
        raise SettingsError(f"storage={url}: is no URL; write sqlite:///FILE.db or postgresql+psycopg://USER@HOST/DATABASE")
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        if path.is_dir() or (path.exists() and path.stat().st_size and path.open("rb").read(16) != b"SQLite format 3\0"):
            raise SettingsError(f"storage={url}: {path} is not an SQLite database; name another file (this one stays as it is)")
        if not path.parent.is_dir():
            raise SettingsError(f"storage={url}: the folder {path.parent} does not exist")
        if path.exists() and path.stat().st_size and (tables := _tables(path)) and "studies" not in tables:
            raise SettingsError(f"storage={url}: {path} holds other tables ({', '.join(tables[:3])}); name another file")
    arguments = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
    try:
        return optuna.storages.RDBStorage(
            url,
            engine_kwargs=arguments,
            heartbeat_interval=HEARTBEAT_S,
            grace_period=GRACE_S,
            heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRY),
        )
    except ArgumentError as error:
        raise SettingsError(f"storage={url}: {error}") from None
    except (SQLAlchemyError, ImportError, RuntimeError) as error:
        raise SettingsError(f"storage={url.split('@')[-1]}: cannot be opened ({str(error).splitlines()[0]})") from None


def _tables(path: Path) -> list[str]:
    try:
        with contextlib.closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as db:
            return [name for (name,) in db.execute("select name from sqlite_master where type = 'table' order by name")]
    except sqlite3.Error:
        return []  # cut off in the middle of a write, say: whoever opens it for writing repairs it


def open_study(storage: optuna.storages.BaseStorage, name: str, directions: list[Any]) -> optuna.Study:
    """Creates it or goes on with it."""
    return optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True,
                               sampler=optuna.samplers.RandomSampler())  # fmt: skip


def is_row(trial: FrozenTrial) -> bool:
    """Whether a trial is one of the table: proposals seen before and places given up are not."""
    return not {"duplicate_of", "withdrawn"} & trial.user_attrs.keys()


def mine() -> dict[str, Any]:
    """Who runs a trial."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "born": _born(os.getpid()), "at": time.time()}


def give_back_dead(study: optuna.Study, private: bool, blame: bool = True) -> int:
    """Ends the running trials of processes of this machine that are gone, and queues them again. Returns how many.

    private: nobody else uses this storage, so a trial that does not yet name its process is a dead one's, too. blame: the
    net may have been what killed its process (no memory, say), and is given up the third time; not so after a Ctrl-C."""
    returned = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        runner = trial.user_attrs.get("runner", {"host": socket.gethostname() if private else None})
        if runner["host"] != socket.gethostname() or _alive(runner.get("pid"), runner.get("born")):
            continue
        give_back(study, trial, blame)
        returned += 1
    return returned


def give_back(study: optuna.Study, trial: FrozenTrial, blame: bool = True) -> None:
    """Ends one trial as interrupted and queues its net again; one that killed its process three times stays ended."""
    attrs = trial.user_attrs
    tries = attrs.get("tries", 1) if blame else attrs.get("tries", 1) - 1
    study._storage.set_trial_user_attr(
        trial._trial_id, "reason", "its process was killed" + (" again: given up" if tries > MAX_RETRY else "; tried again")
    )
    study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}  # those of a queued trial, asked for or not yet
    if tries <= MAX_RETRY and is_row(trial) and (params or "net" in attrs):
        keep: dict[str, Any] = {k: attrs[k] for k in ("origin", "net", "architecture", "edit_of", "id", "seed") if k in attrs}
        study.enqueue_trial(params, user_attrs={**keep, "retry_of": trial.number, "tries": tries + 1})


def is_alive(runner: Mapping[str, Any]) -> bool:
    """Whether the process that signed with `mine()` lives; one of another host is taken to live for ten minutes."""
    if not runner:
        return False
    if runner["host"] != socket.gethostname():
        return time.time() - runner.get("at", 0) < 600
    return _alive(runner.get("pid"), runner.get("born"))


def _born(pid: int) -> str:
    """When a process began, so that a number used again is not taken for it. Empty where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def _alive(pid: int | None, born: str | None) -> bool:
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not born or _born(pid) == born
