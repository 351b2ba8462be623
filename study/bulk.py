"""Optuna's tables read and written in few statements: what a study of ten thousand trials, or of sixteen workers, lives on.

Optuna's own storage builds an object a row and writes a row a transaction. Here a look at the trials is two statements, and what
a trial has chosen and noted goes in one transaction. The tables are Optuna's, and so are the values that come out
(tests/study/test_bulk.py reads both ways and compares).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from optuna import distributions
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Float, Integer, String, Text, bindparam, cast, func, insert, literal, null, or_, select, union_all
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

Param = tuple[str, float, BaseDistribution]
TRIAL, PARAM = models.TrialModel.__table__.c, models.TrialParamModel.__table__.c
NOTED, OPTUNAS = models.TrialUserAttributeModel.__table__.c, models.TrialSystemAttributeModel.__table__.c
VALUE, STEP = models.TrialValueModel.__table__.c, models.TrialIntermediateValueModel.__table__.c
_STATE = select(TRIAL.state).where(TRIAL.trial_id == bindparam("id"))
_distribution = lru_cache(maxsize=None)(distributions.json_to_distribution)  # there are few, and nobody alters them
_distribution_json = distributions.distribution_to_json


def read_trials(session: Session, study_id: int, ids: Iterable[int], above: int) -> list[FrozenTrial]:
    """The trials of a study with these ids (unfinished ones: as many as there are workers and plans) or with one above, by id."""
    return _read(session, {"study": study_id, "ids": sorted(ids), "above": above})


def read_trial(session: Session, trial_id: int) -> FrozenTrial:
    """One trial; KeyError without it."""
    study = session.connection().execute(select(TRIAL.study_id).where(TRIAL.trial_id == trial_id)).scalar()
    if study is None or not (found := _read(session, {"study": study, "ids": [trial_id], "above": 2**31 - 1})):
        raise KeyError(f"there is no trial {trial_id}")
    return found[0]


def distributions_beside(session: Session, trial_id: int) -> dict[str, BaseDistribution]:
    """Parameter -> distribution, of all trials of the study that a trial belongs to."""
    study = select(TRIAL.study_id).where(TRIAL.trial_id == trial_id).scalar_subquery()
    theirs = PARAM.trial_id.in_(select(TRIAL.trial_id).where(TRIAL.study_id == study))
    found = select(PARAM.param_name, PARAM.distribution_json).where(theirs).distinct()
    return {name: _distribution(text) for name, text in session.connection().execute(found)}


def _read(session: Session, chosen: Mapping[str, Any]) -> list[FrozenTrial]:
    connection = session.connection()
    parts: dict[int, dict[str, list[Any]]] = {}
    # all at once: fetched one by one, rows take twice as long
    for kind, id_, *row in connection.execute(_rows(connection.dialect.name), chosen).all():
        if id_ not in parts:
            parts[id_] = {"t": [], "u": [], "s": [], "p": [], "v": [], "i": []}
        parts[id_][kind].append(row)
    return [_frozen(id_, parts[id_]) for id_ in sorted(parts)]


@lru_cache
def _rows(dialect: str) -> Any:
    """kind, trial, name, text, number, order: the trials and all that hangs on them, in one statement. The server writes the
    attributes of a trial into one document: fetched and parsed one by one they cost workers and reports most of their time.
    Numbers stay numbers, for SQLite writes them with 15 digits."""
    if dialect == "postgresql":  # a list is one value there, and the statement stays the same whatever its length
        among = TRIAL.trial_id == func.any(bindparam("ids", type_=postgresql.ARRAY(Integer)))
    else:
        among = TRIAL.trial_id.in_(bindparam("ids", expanding=True))
    mine = TRIAL.study_id == bindparam("study")
    ours = select(*TRIAL).where(mine, or_(among, TRIAL.trial_id > bindparam("above"))).cte("ours")
    no_text, no_number, no_order = cast(null(), Text), cast(null(), Float(53)), cast(null(), Integer)

    def each(kind: str, row: Any, *columns: Any) -> Any:
        return select(literal(kind), row.trial_id, *columns).where(row.trial_id.in_(select(ours.c.trial_id)))

    def attributes(kind: str, a: Any) -> Any:
        text = "{" + func.aggregate_strings(_quoted(a.key) + ":" + a.value_json, ",") + "}"
        return each(kind, a, no_text, text, no_number, no_order).group_by(a.trial_id)

    times = func.coalesce(cast(ours.c.datetime_start, Text), "") + "|" + func.coalesce(cast(ours.c.datetime_complete, Text), "")
    return union_all(
        select(literal("t"), ours.c.trial_id, cast(ours.c.state, String), times, no_number, ours.c.number),
        attributes("u", NOTED),
        attributes("s", OPTUNAS),
        each("p", PARAM, PARAM.param_name, PARAM.distribution_json, PARAM.param_value, PARAM.param_id),
        each("v", VALUE, cast(VALUE.value_type, String), no_text, VALUE.value, VALUE.objective),
        each("i", STEP, cast(STEP.intermediate_value_type, String), no_text, STEP.intermediate_value, STEP.step),
    )


def _quoted(text: Any) -> Any:
    """As a JSON string."""
    return '"' + func.replace(func.replace(text, "\\", "\\\\"), '"', '\\"') + '"'


def _time(text: str) -> datetime | None:
    """Stored without a zone, in UTC; Optuna tells local time, without one too."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).astimezone().replace(tzinfo=None) if text else None


def _frozen(trial_id: int, parts: Mapping[str, list[Any]]) -> FrozenTrial:
    ((state, times, _, number),) = parts["t"]
    begun, over = map(_time, times.split("|"))
    params = [(name, value, _distribution(text)) for name, text, value, _ in sorted(parts["p"], key=lambda r: r[3])]
    kinds = models.TrialValueModel.TrialValueType
    infinite = models.TrialIntermediateValueModel
    return FrozenTrial(
        number=number,
        state=TrialState[state],
        value=None,
        values=[models.TrialValueModel.stored_repr_to_value(value, kinds[kind])
                for kind, _, value, _ in sorted(parts["v"], key=lambda r: r[3])] or None,
        datetime_start=begun,
        datetime_complete=over,
        params={name: d.to_external_repr(value) for name, value, d in params},
        distributions={name: d for name, _, d in params},
        user_attrs=json.loads(parts["u"][0][1]) if parts["u"] else {},
        system_attrs=json.loads(parts["s"][0][1]) if parts["s"] else {},
        intermediate_values={step: infinite.stored_repr_to_intermediate_value(value, infinite.TrialIntermediateValueType[kind])
                             for kind, _, value, step in parts["i"]},
        trial_id=trial_id,
    )  # fmt: skip


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
