"""The ledger: what was trained and measured before, by any study on one storage.

Two kinds of rows in one table `ledger`, found by what study/reuse.py says of them:

    accuracy   net + recipe + data + seed           {"curve": {epoch: val top-1 in percent}, ...}
    latency    net + machine + setting + protocol   the fields of a Latency

It lies in the database that `storage=` names, beside Optuna's tables; without one in `ledger.db` of the outputs folder, so that
all studies there share it. A row is one transaction of text and JSON: a kill -9 leaves all of it or nothing, several writers wait
for each other, and nothing that is read is ever executed. It is a convenience: where it cannot be read or written a study trains
what it needs, and its log says so once.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState
from sqlalchemy import Column, Engine, Float, MetaData, String, Table, Text, create_engine, event, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.schema import CreateTable

from study.settings import Settings
from study.storing.storage import is_row

ACCURACY, LATENCY = "accuracy", "latency"
TRIES = 5  # of a write, against others that write the same row
ROWS = Table(
    "ledger",
    MetaData(),
    Column("kind", String(16), primary_key=True),
    Column("key", String(64), primary_key=True),  # sha256 of `about`
    Column("about", Text, nullable=False),
    Column("value", Text, nullable=False),
    Column("study", Text, nullable=False),  # who wrote it first
    Column("written_at", Float, nullable=False),  # seconds since 1970
)


def url_of_ledger(settings: Settings, folder: Path) -> str:
    """The storage's URL: as given, or SQLite beside the output folder."""
    return settings.storage or f"sqlite:///{(folder.resolve().parent / 'ledger.db')}"


class Ledger:
    """The rows of one database, for the study of that name. Never raises for a database that fails."""

    def __init__(self, url: str, study: str):
        self.study, self._said = study, False
        arguments = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {"pool_pre_ping": True}
        self._engine = create_engine(url, **arguments)  # type: ignore[call-overload]
        if self._engine.dialect.name == "sqlite":
            _one_at_a_time(self._engine)
        for _ in range(2):  # PostgreSQL may answer with an error to two that make a table in one moment
            try:
                with self._engine.begin() as db:
                    db.execute(CreateTable(ROWS, if_not_exists=True))
                return
            except SQLAlchemyError as error:
                why = error
        self._tell(why)

    def find(self, kind: str, about: Mapping[str, Any]) -> tuple[dict[str, Any], str] | None:
        """The value of a row and the study that wrote it."""
        try:
            with self._engine.connect() as db:
                row = db.execute(select(ROWS.c.value, ROWS.c.study).where(*_same(kind, about))).first()
            return (json.loads(row.value), str(row.study)) if row else None
        except (SQLAlchemyError, ValueError) as error:
            self._tell(error)
            return None

    def put(self, kind: str, about: Mapping[str, Any], value: Mapping[str, Any]) -> None:
        """Writes a row, or adds to the one that is there: fields replace fields, dictionaries are joined. Its study stays: who
        trained a net first is who trained it."""
        for attempt in range(TRIES):
            try:
                with self._engine.begin() as db:
                    row = db.execute(select(ROWS.c.value).where(*_same(kind, about)).with_for_update()).first()
                    text = json.dumps(_joined(json.loads(row.value) if row else {}, value), sort_keys=True)
                    if row:
                        db.execute(ROWS.update().where(*_same(kind, about)).values(value=text))
                    else:
                        db.execute(ROWS.insert().values(kind=kind, key=key_of(about), about=canonical(about), value=text,
                                                        study=self.study, written_at=time.time()))  # fmt: skip
                return
            except IntegrityError:  # another worker was faster: add to its row
                time.sleep(0.05 * attempt)
            except (SQLAlchemyError, ValueError) as error:
                self._tell(error)
                return

    def close(self) -> None:
        self._engine.dispose()

    def _tell(self, error: Exception) -> None:
        if not self._said:
            self._said = True
            why = str(getattr(error, "orig", None) or error).splitlines()[0][:200]
            print(f"The ledger cannot be used ({why}): what it may know is trained again", file=sys.stderr, flush=True)


def canonical(about: Mapping[str, Any]) -> str:
    """What a key stands for, as text that two processes write alike."""
    return json.dumps(about, sort_keys=True, separators=(",", ":"))


def key_of(about: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(about).encode()).hexdigest()


def _same(kind: str, about: Mapping[str, Any]) -> tuple[Any, Any]:
    return ROWS.c.kind == kind, ROWS.c.key == key_of(about)


def _one_at_a_time(engine: Engine) -> None:
    """Python's sqlite3 begins a transaction at the first write only, so that two could read a row and each write back its own."""

    @event.listens_for(engine, "connect")
    def _(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # no BEGIN of its own

    @event.listens_for(engine, "begin")
    def _(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _joined(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    joined = {**before, **now}
    for name, value in now.items():
        if isinstance(value, Mapping) and isinstance(before.get(name), Mapping):
            joined[name] = {**before[name], **value}
    return joined


def told(studies: Iterable[optuna.Study]) -> str:
    """One line on what was taken from the ledger, for the end of a search; empty where it was nothing."""
    trained: Counter[str] = Counter()
    measured, again = 0, 0
    for study in studies:
        for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED)):
            if is_row(t):
                trained.update([t.user_attrs["reused_from"]] if "reused_from" in t.user_attrs else [])
                measured += "latency_from" in t.user_attrs
                again += "trained_again" in t.user_attrs
    parts = []
    if trained:
        of = ", ".join(f"{name} ({n})" for name, n in sorted(trained.items()))
        count = sum(trained.values())
        parts.append(f"{count} training{'s' * (count > 1)} reused, of {of}")
    if measured:
        parts.append(f"{measured} latenc{'ies' if measured > 1 else 'y'} reused")
    if again:
        parts.append(f"{again} finalist{'s' * (again > 1)} trained again, for the saved weights could not be used")
    return f"From the ledger: {'; '.join(parts)}." if parts else ""
