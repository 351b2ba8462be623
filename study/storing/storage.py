"""Where a study lives: opening it, making it once, looking into it; and who runs its trials.

SQLite in the output folder by default; any RDB URL. A trial carries the host and process that runs it (those of the dead:
study/storing/given_back.py). A storage that is away is waited for (study/storing/patience.py).
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
from optuna.trial import FrozenTrial, TrialState

from analysis.stored import count_states, read_values
from study.settings import Settings, SettingsError
from study.storing.patience import Patience, PatientStorage
from study.storing.secret import shown

HEARTBEAT_S, GRACE_S = 30, 120
FINALISTS, CONTROL, HALVING = ".finalists", ".control", ".halving"

optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


def url_of(settings: Settings, folder: Path) -> str:
    """The storage's URL: as given, or SQLite in the output folder."""
    return settings.storage or f"sqlite:///{(folder / 'study.db').resolve()}"


PACKAGES = {"MySQLdb": "mysqlclient"}  # a driver that is imported by another name


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
        cure = "pip install -e '.[cluster]'" if driver.startswith("psycopg") else f"pip install {PACKAGES.get(driver, driver)}"
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
    return optuna.create_study(storage=cached(storage), study_name=name, directions=directions, load_if_exists=True,
                               sampler=optuna.samplers.RandomSampler())  # fmt: skip


def cached(storage: optuna.storages.BaseStorage) -> optuna.storages.BaseStorage:
    """What remembers finished trials: one for all studies opened from this storage; Optuna would make, and fill, one for each."""
    return storage.cached if isinstance(storage, PatientStorage) else storage


class Studies:
    """What there is of this study: "" itself, and its control and finalists under their suffixes. Each is opened once: an
    opened study remembers the finished trials, and a look every second costs next to nothing."""

    def __init__(self, storage: optuna.storages.BaseStorage, name: str):
        self.storage, self.name = storage, name
        self.found: dict[str, optuna.Study] = {}

    def look(self) -> dict[str, optuna.Study]:
        for suffix in ("", HALVING, CONTROL, CONTROL + HALVING, FINALISTS):
            if suffix not in self.found:
                with contextlib.suppress(KeyError):  # not made yet
                    self.found[suffix] = optuna.load_study(study_name=self.name + suffix, storage=cached(self.storage))
        return self.found


def _ours(storage: optuna.storages.BaseStorage) -> PatientStorage | None:
    """What is behind Optuna's cache, if it is ours."""
    backend = getattr(storage, "_backend", None)
    return backend if isinstance(backend, PatientStorage) else None


def of_states(study: optuna.Study, *states: TrialState) -> list[FrozenTrial]:
    """Its trials in these states, and no others read: with ten thousand trials that would take seconds."""
    if backend := _ours(study._storage):
        return backend._get_trials(study._study_id, states, set(), -1)
    return study.get_trials(deepcopy=False, states=states)


def values_of(study: optuna.Study, key: str) -> list[Any]:
    """What its trials have noted under `key`, those that have; likewise."""
    if backend := _ours(study._storage):
        return backend.look(read_values, study._study_id, key)
    return [t.user_attrs[key] for t in study.get_trials(deepcopy=False) if key in t.user_attrs]


def over(study: optuna.Study) -> int:
    """How many of its trials are; likewise."""
    if backend := _ours(study._storage):
        return sum(n for state, n in backend.look(count_states, study._study_id).items() if state.is_finished())
    return sum(t.state.is_finished() for t in study.get_trials(deepcopy=False))


def note(trial: optuna.Trial, attrs: Mapping[str, Any]) -> None:
    """Writes several attributes of a running trial in one transaction."""
    if not (backend := _ours(trial.storage)):
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


def is_alive(runner: Mapping[str, Any]) -> bool:
    """Whether the process that signed with `mine()` lives; one of another host is taken to live for ten minutes."""
    if not runner:
        return False
    if runner["host"] != here():
        return time.time() - runner.get("at", 0) < 600
    return alive(runner.get("pid"), runner.get("born"))


def _born(pid: int) -> str:
    """When a process began, so that a number used again is not taken for it. Empty where the system does not tell."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def alive(pid: int | None, born: str | None) -> bool:
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not born or _born(pid) == born
