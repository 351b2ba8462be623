"""What a trial has chosen and noted, and that it is over, each written in one transaction: Optuna's own storage takes one a row.
The other half, reading, is analysis/stored.py; what a worker does at each trial on PostgreSQL is study/storing/at_once.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from optuna import distributions
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import Connection, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from analysis.stored import PARAM, TRIAL, choices_read, distribution_of

Param = tuple[str, float, BaseDistribution]
_STATE = select(TRIAL.state).where(TRIAL.trial_id == bindparam("id"))
_distribution_json = distributions.distribution_to_json


def distribution_beside(connection: Connection, trial_id: int, name: str) -> BaseDistribution | None:
    """Of a parameter, in the other trials of a trial's study: as they were read, else by a look at them all."""
    study = connection.execute(select(TRIAL.study_id).where(TRIAL.trial_id == trial_id)).scalar_one()
    if (read := choices_read(connection, study).get(name)) is not None:
        return read
    theirs = PARAM.trial_id.in_(select(TRIAL.trial_id).where(TRIAL.study_id == study))
    found = connection.execute(select(PARAM.distribution_json).where(PARAM.param_name == name, theirs).limit(1)).scalar()
    return None if found is None else distribution_of(found)


def write(session: Session, dialect: str, trial_id: int, params: Sequence[Param], attrs: Mapping[str, Any]) -> None:
    """Parameters and attributes of a running trial; UpdateFinishedTrialError if it is over."""
    state = session.connection().execute(_STATE, {"id": trial_id}).scalar_one()
    if state.is_finished():
        raise UpdateFinishedTrialError(f"the trial {trial_id} is over")
    told = [{"trial_id": trial_id, "param_name": n, "param_value": v, "distribution_json": _distribution_json(d)}
            for n, v, d in params]  # fmt: skip
    _insert(session, dialect, models.TrialParamModel, ("trial_id", "param_name"), told)
    noted = [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attrs.items()]
    _insert(session, dialect, models.TrialUserAttributeModel, ("trial_id", "key"), noted)


def move(session: Session, dialect: str, trial_id: int, state: TrialState, values: Sequence[float] | None) -> bool:
    """A trial's state and values. False when it was to run and is no longer waiting, UpdateFinishedTrialError if it is over."""
    connection = session.connection()
    now, told = datetime.now(UTC).replace(tzinfo=None), {"state": state}
    times = {"datetime_start": now} if state == TrialState.RUNNING else {"datetime_complete": now} if state.is_finished() else {}
    open_ = [TrialState.WAITING] if state == TrialState.RUNNING else [TrialState.WAITING, TrialState.RUNNING]
    table = models.TrialModel.__table__
    moved = connection.execute(update(table).where(TRIAL.trial_id == trial_id, TRIAL.state.in_(open_)).values(**told, **times))
    if not moved.rowcount:
        is_ = connection.execute(_STATE, {"id": trial_id}).scalar()
        if is_ is None:
            raise KeyError(f"there is no trial {trial_id}")
        if is_.is_finished():
            raise UpdateFinishedTrialError(f"the trial {trial_id} is over")
        return False
    rows = []
    for objective, value in enumerate(values or ()):
        number, kind = models.TrialValueModel.value_to_stored_repr(value)
        rows.append({"trial_id": trial_id, "objective": objective, "value": number, "value_type": kind})
    _insert(session, dialect, models.TrialValueModel, ("trial_id", "objective"), rows)
    return True


def _insert(session: Session, dialect: str, model: Any, key: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
    """Written again, a row takes the new value."""
    if not rows:
        return
    if dialect not in UPSERT:  # MySQL and others: take the old ones out first
        for row in rows:
            session.query(model).filter_by(**{k: row[k] for k in key}).delete()
        session.execute(insert(model), rows)
        return
    session.connection().execute(_upsert(dialect, model.__table__, key), rows)


UPSERT: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}


@lru_cache
def _upsert(dialect: str, table: Any, key: tuple[str, ...]) -> Any:
    statement = UPSERT[dialect](table)
    changed = {c.name: statement.excluded[c.name] for c in table.columns if c.name not in key and not c.primary_key}
    return statement.on_conflict_do_update(index_elements=[table.c[k] for k in key], set_=changed)
