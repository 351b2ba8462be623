"""A storage opened for reading, and nothing else: SQLite files read-only (cut off in a write: a repaired copy of them), no table
is ever made.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import optuna
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from analysis import stored


class StudyError(ValueError):
    """A storage or study that cannot be read; one line that says which and why."""


@contextlib.contextmanager
def opened(url: str) -> Iterator[optuna.storages.RDBStorage]:
    """The storage at `url`, closed afterwards. StudyError for whatever keeps it from being read, meanwhile too."""
    storage = _open(url)
    try:
        yield storage
    except SQLAlchemyError as error:
        raise StudyError(f"storage: {shown(url)} cannot be read ({_line(error)})") from None
    finally:
        storage.remove_session()
        storage.engine.dispose()


def trials_of(storage: optuna.storages.RDBStorage, study_id: int) -> list[optuna.trial.FrozenTrial]:
    if storage.engine.name not in stored.DIALECTS:
        return storage.get_all_trials(study_id, deepcopy=False)
    with storage.engine.connect() as connection:
        return stored.read_trials(connection, study_id, (), -1)


def _line(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]


def shown(url: str) -> str:
    return make_url(url).render_as_string(hide_password=True)


def _open(url: str) -> optuna.storages.RDBStorage:
    """An RDBStorage that was an Optuna database before we came; SQLite read-only."""
    try:
        parsed = make_url(url)
    except (SQLAlchemyError, ValueError):
        raise StudyError(f"storage: {url!r} is no database URL; try sqlite:///outputs/NAME/study.db") from None
    if parsed.get_backend_name() == "sqlite":
        parsed = _read_only(parsed, url)
    text = parsed.render_as_string(hide_password=False)
    try:
        engine = create_engine(text)
        try:
            missing = {"studies", "trials", "version_info", "alembic_version"} - set(inspect(engine).get_table_names())
        finally:
            engine.dispose()
        if missing:
            raise StudyError(f"storage: {shown(url)} holds no Optuna study")
        return optuna.storages.RDBStorage(text, skip_table_creation=True)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StudyError(f"storage: {shown(url)} is not a readable database ({_line(error)})") from None
    except (ImportError, RuntimeError) as error:  # no driver for this URL; tables of another Optuna
        raise StudyError(f"storage: {shown(url)}: {_line(error)}") from None


def _read_only(parsed: URL, url: str) -> URL:
    if not parsed.database or parsed.database == ":memory:":
        raise StudyError(f"storage: {url!r} names no file; try sqlite:///outputs/NAME/study.db")
    path = parsed.database.removeprefix("file:")
    if not Path(path).is_file():
        raise StudyError(f"storage: there is no file {path}")
    if not _can_be_read(path):
        path = _copied(Path(path))
    quoted = Path(path).absolute().as_uri().removeprefix("file://")  # %-quotes what a URI cannot hold
    return parsed.set(database=f"file:{quoted}", query={"mode": "ro", "uri": "true"})


def _can_be_read(path: str) -> bool:
    """Whether SQLite opens it read-only: not so when a process was killed in the middle of a write, for the journal that it left
    wants to be played back. Waits for writes that go on."""
    try:
        with contextlib.closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as db:
            db.execute("select count(*) from sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        return not any(word in str(error) for word in ("readonly", "unable to open"))
    except sqlite3.DatabaseError:
        pass  # no database at all: told by whoever opens it
    return True


def _copied(path: Path) -> str:
    """A repaired copy of a study that was cut off in a write; the file itself stays as it is."""
    folder = Path(tempfile.mkdtemp(prefix="study-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    copy = folder / path.name
    for _ in range(20):
        for name in (path.name, f"{path.name}-journal"):
            (folder / name).unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):  # repaired by somebody else meanwhile
                shutil.copyfile(path.with_name(name), folder / name)
        with contextlib.closing(sqlite3.connect(copy)) as db, contextlib.suppress(sqlite3.Error):
            if db.execute("pragma quick_check").fetchone() == ("ok",):  # the first look plays the journal back
                return str(copy)
        time.sleep(0.1)
    raise StudyError(f"storage: {path} was cut off in a write and cannot be repaired on a copy")
