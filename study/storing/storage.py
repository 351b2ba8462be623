"""Where a study lives: opening it, making it once, giving the trials of dead processes back.

SQLite in the output folder by default; any RDB URL. A trial carries the host and process that runs it: on this machine a
trial of a dead process is given back at once, on others the heartbeat does it (study/storing/reaper.py). A storage that is away
is waited for (study/storing/patience.py).
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from study.settings import Settings, SettingsError
from study.storing.patience import Patience, PatientStorage
from study.storing.secret import shown

HEARTBEAT_S, GRACE_S, MAX_RETRY = 30, 120, 2
FINALISTS, CONTROL, HALVING = ".finalists", ".control", ".halving"
STORAGE = "STUDY_STORAGE"  # in a worker's environment: the URL with its password, which no file holds

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def url_of(settings: Settings, folder: Path) -> str:
    """The storage's URL: as given, or SQLite in the output folder."""
    return settings.storage or f"sqlite:///{(folder / 'study.db').resolve()}"


def open_storage(url: str, patience: Patience | None = None) -> PatientStorage:
    """SettingsError when it is no database; an existing file that is none stays as it is. With `patience` also the opening waits
    for a server that is away (a worker's: its parent has seen it)."""
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    told = f"storage={shown(url)}"
    if "://" not in url:
        raise SettingsError(f"{told}: is no URL; write sqlite:///FILE.db or postgresql+psycopg://USER@HOST/DATABASE")
    if url.startswith("sqlite:///"):
        path = Path(url.removeprefix("sqlite:///"))
        if path.is_dir() or (path.exists() and path.stat().st_size and path.open("rb").read(16) != b"SQLite format 3\0"):
            raise SettingsError(f"{told}: {path} is not an SQLite database; name another file (this one stays as it is)")
        if not path.parent.is_dir():
            raise SettingsError(f"{told}: the folder {path.parent} does not exist")
        if path.exists() and path.stat().st_size and (tables := _tables(path)) and "studies" not in tables:
            raise SettingsError(f"{told}: {path} holds other tables ({', '.join(tables[:3])}); name another file")

    def attempt(_: bool = False) -> PatientStorage:
        with _alone(url, "tables"):  # two processes that make them at once would break each other
            return PatientStorage(url, patience or Patience(), engine_kwargs=_engine(url), heartbeat_interval=HEARTBEAT_S,
                                  grace_period=GRACE_S)  # fmt: skip

    try:
        return patience.insist(attempt) if patience else attempt()
    except ImportError as error:
        driver = getattr(error.__cause__ or error, "name", None) or "its driver"
        cure = "pip install -e '.[cluster]'" if driver.startswith("psycopg") else f"pip install {driver}"
        raise SettingsError(f"{told}: {driver} is not installed; {cure}") from None
    except (ArgumentError, ValueError) as error:  # a port that is no number
        raise SettingsError(f"{told}: {shown(str(error))}") from None
    except (SQLAlchemyError, RuntimeError) as error:
        why = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise SettingsError(f"{told}: cannot be opened ({shown(why)})") from None


def _engine(url: str) -> dict[str, Any]:
    """Arguments of the engine: SQLite waits for other writers; a server's silence is noticed within a minute or so."""
    if url.startswith("sqlite"):
        return {"connect_args": {"timeout": 60}}
    # one lasting connection a process: a cluster's workers share the server's hundred
    arguments: dict[str, Any] = {"pool_size": 1, "max_overflow": 4}
    if url.startswith("postgresql"):
        arguments["connect_args"] = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10,
                                     "keepalives_count": 3, "application_name": "lean-convnet-search"}  # fmt: skip
    return arguments


@contextlib.contextmanager
def _alone(url: str, what: str, patience: Patience | None = None) -> Iterator[None]:
    """One process at a time does `what` on this storage; the server gives the lock back when its holder dies. PostgreSQL's only:
    elsewhere the processes of one study are few, and what two of them queue at once is answered as a duplicate."""
    if not url.startswith("postgresql"):
        yield
        return
    from sqlalchemy import create_engine, text
    from sqlalchemy.pool import NullPool

    engine = create_engine(url, poolclass=NullPool, connect_args=_engine(url)["connect_args"])
    with contextlib.ExitStack() as held:

        def acquire(_: bool = False) -> None:
            connection = held.enter_context(engine.connect())
            key = zlib.crc32(f"lean-convnet-search {what}".encode())
            connection.execute(text("select pg_advisory_lock(:key)"), {"key": key})
            connection.commit()  # the lock is the session's; no transaction stays open

        if patience:
            patience.insist(acquire)
        else:
            acquire()
        yield


def alone(storage: PatientStorage, what: str) -> contextlib.AbstractContextManager[None]:
    """As `_alone`, of an open storage: anchors are queued once, however many workers begin in one moment."""
    return _alone(storage.url, what, storage.patience)


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


def note(trial: optuna.Trial, attrs: Mapping[str, Any]) -> None:
    """Writes several attributes of a running trial in one transaction."""
    backend = getattr(trial.storage, "_backend", None)
    if not isinstance(backend, PatientStorage):
        for key, value in attrs.items():
            trial.set_user_attr(key, value)
        return
    backend.set_trial_user_attrs(trial._trial_id, attrs)
    trial._cached_frozen_trial.user_attrs.update(attrs)


def is_row(trial: FrozenTrial) -> bool:
    """Whether a trial is one of the table: proposals seen before and places given up are not."""
    return not {"duplicate_of", "withdrawn"} & trial.user_attrs.keys()


def mine() -> dict[str, Any]:
    """Who runs a trial."""
    return {"host": here(), "pid": os.getpid(), "born": _born(os.getpid()), "at": time.time()}


@cache
def here() -> str:
    """This host; in a container also which, for its process numbers are its own."""
    try:
        space = os.readlink("/proc/self/ns/pid").strip("pid:[]")
    except OSError:
        space = _FIRST_SPACE
    return socket.gethostname() + ("" if space == _FIRST_SPACE else f"/{space}")


_FIRST_SPACE = "4026531836"  # the number that Linux gives the name space of a machine's own processes


def give_back_dead(study: optuna.Study, private: bool, blame: bool = True) -> int:
    """Ends the running trials of processes of this machine that are gone, and queues them again. Returns how many.

    private: nobody else uses this storage, so a trial that does not yet name its process is a dead one's, too. blame: the
    net may have been what killed its process (no memory, say), and is given up the third time; not so after a Ctrl-C."""
    returned = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        runner = trial.user_attrs.get("runner", {"host": here() if private else None})
        if runner["host"] != here() or _alive(runner.get("pid"), runner.get("born")):
            continue
        returned += give_back(study, trial, blame)
    return returned


def give_back(study: optuna.Study, trial: FrozenTrial, blame: bool = True) -> bool:
    """Ends one trial as interrupted and queues its net again; one that killed its process three times stays ended. False when
    somebody else did so meanwhile."""
    attrs = trial.user_attrs
    tries = attrs.get("tries", 1) if blame else attrs.get("tries", 1) - 1
    why = "its process was killed" + (" again: given up" if tries > MAX_RETRY else "; tried again")
    try:
        if not blame:
            study._storage.set_trial_user_attr(trial._trial_id, "interrupted", True)
        study._storage.set_trial_user_attr(trial._trial_id, "reason", why)
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)
    except UpdateFinishedTrialError:
        return False
    _queue_again(study, trial, tries)
    return True


def _queue_again(study: optuna.Study, trial: FrozenTrial, tries: int) -> None:
    attrs = trial.user_attrs
    if "rung" in attrs:
        return  # a promotion: who goes on is decided anew (study/halving.py)
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}  # those of a queued trial, asked for or not yet
    if tries <= MAX_RETRY and is_row(trial) and (params or "net" in attrs or "architecture" in attrs):
        keep: dict[str, Any] = {k: attrs[k] for k in ("origin", "net", "architecture", "edit_of", "id", "seed") if k in attrs}
        study.enqueue_trial(params, user_attrs={**keep, "retry_of": trial.number, "tries": tries + 1})


def queue_forgotten(study: optuna.Study) -> None:
    """Queues what was given back by a process that was killed before it had queued it again."""
    trials = study.get_trials(deepcopy=False)
    queued = {t.user_attrs.get("retry_of") for t in trials}
    for t in trials:
        if t.state == TrialState.FAIL and t.number not in queued and t.user_attrs.get("reason", "").endswith("; tried again"):
            _queue_again(study, t, t.user_attrs.get("tries", 1))


def is_alive(runner: Mapping[str, Any]) -> bool:
    """Whether the process that signed with `mine()` lives; one of another host is taken to live for ten minutes."""
    if not runner:
        return False
    if runner["host"] != here():
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
