"""What a trial has chosen and noted, written in one transaction: Optuna's own storage takes one a row. The other half, reading,
is analysis/stored.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from optuna import distributions
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models
from sqlalchemy import bindparam, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from analysis.stored import PARAM, TRIAL, distribution_of

Param = tuple[str, float, BaseDistribution]
_STATE = select(TRIAL.state).where(TRIAL.trial_id == bindparam("id"))
_distribution_json = distributions.distribution_to_json


def distributions_beside(session: Session, trial_id: int) -> dict[str, BaseDistribution]:
    """Parameter -> distribution, of all trials of the study that a trial belongs to."""
    study = select(TRIAL.study_id).where(TRIAL.trial_id == trial_id).scalar_subquery()
    theirs = PARAM.trial_id.in_(select(TRIAL.trial_id).where(TRIAL.study_id == study))
    found = select(PARAM.param_name, PARAM.distribution_json).where(theirs).distinct()
    return {name: distribution_of(text) for name, text in session.connection().execute(found)}


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
