"""Optuna's tables read and written in few statements: what a study of ten thousand trials, or of sixteen workers, lives on.

Optuna's own storage builds an object a row and writes a row a transaction. Here a look at the trials is two statements, and what
a trial has chosen and noted goes in one transaction. The tables are Optuna's, and so are the values that come out
(tests/study/test_bulk.py reads both ways and compares).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from optuna import distributions
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial
from sqlalchemy import Float, Integer, String, Text, cast, insert, literal, null, or_, select, union_all
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

Param = tuple[str, float, BaseDistribution]
MOST_IDS = 500  # in one IN (...)
_distribution = lru_cache(maxsize=None)(distributions.json_to_distribution)  # there are few, and nobody alters them
_distribution_json = distributions.distribution_to_json


def read_trials(session: Session, study_id: int, ids: Iterable[int], above: int) -> list[FrozenTrial]:
    """The trials of a study with these ids (unfinished ones: as many as there are workers and plans) or with one above, by id."""
    trial = models.TrialModel
    return _read(session, trial.study_id == study_id, or_(trial.trial_id.in_(sorted(ids)), trial.trial_id > above))


def read_trial(session: Session, trial_id: int) -> FrozenTrial:
    """One trial; KeyError without it."""
    if not (found := _read(session, models.TrialModel.trial_id == trial_id)):
        raise KeyError(f"there is no trial {trial_id}")
    return found[0]


def _read(session: Session, *chosen: Any) -> list[FrozenTrial]:
    trial = models.TrialModel
    # the ORM's own properties turn the two times into local ones
    heads: list[Any] = session.query(trial).filter(*chosen).order_by(trial.trial_id).all()
    if not heads:
        return []
    parts: dict[int, dict[str, list[Any]]] = {h.trial_id: {"u": [], "s": [], "p": [], "v": [], "i": []} for h in heads}
    # of a few the planner goes by the index; of many it reads the tables once
    ours = list(parts) if len(parts) <= MOST_IDS else select(trial.trial_id).where(*chosen)
    for kind, id_, *row in session.execute(_rows(ours)):
        if id_ in parts:
            parts[id_][kind].append(row)
    return [_frozen(h, parts[h.trial_id]) for h in heads]


def _rows(ours: Any) -> Any:
    """kind, trial, name, text, number, order: all that hangs on some trials, in one statement."""
    u, s, p = models.TrialUserAttributeModel, models.TrialSystemAttributeModel, models.TrialParamModel
    v, i = models.TrialValueModel, models.TrialIntermediateValueModel
    no_text, no_number, no_order = cast(null(), Text), cast(null(), Float(53)), cast(null(), Integer)
    return union_all(
        select(literal("u"), u.trial_id, u.key, u.value_json, no_number, no_order).where(u.trial_id.in_(ours)),
        select(literal("s"), s.trial_id, s.key, s.value_json, no_number, no_order).where(s.trial_id.in_(ours)),
        select(literal("p"), p.trial_id, p.param_name, p.distribution_json, p.param_value, p.param_id).where(
            p.trial_id.in_(ours)
        ),
        select(literal("v"), v.trial_id, cast(v.value_type, String), no_text, v.value, v.objective).where(v.trial_id.in_(ours)),
        select(literal("i"), i.trial_id, cast(i.intermediate_value_type, String), no_text, i.intermediate_value, i.step).where(
            i.trial_id.in_(ours)
        ),
    )


def _frozen(head: Any, parts: Mapping[str, list[Any]]) -> FrozenTrial:
    params = [(name, value, _distribution(text)) for name, text, value, _ in sorted(parts["p"], key=lambda r: r[3])]
    kinds = models.TrialValueModel.TrialValueType
    infinite = models.TrialIntermediateValueModel
    return FrozenTrial(
        number=head.number,
        state=head.state,
        value=None,
        values=[models.TrialValueModel.stored_repr_to_value(value, kinds[kind])
                for kind, _, value, _ in sorted(parts["v"], key=lambda r: r[3])] or None,
        datetime_start=head.datetime_start,
        datetime_complete=head.datetime_complete,
        params={name: d.to_external_repr(value) for name, value, d in params},
        distributions={name: d for name, _, d in params},
        user_attrs={key: json.loads(text) for key, text, _, _ in parts["u"]},
        system_attrs={key: json.loads(text) for key, text, _, _ in parts["s"]},
        intermediate_values={step: infinite.stored_repr_to_intermediate_value(value, infinite.TrialIntermediateValueType[kind])
                             for kind, _, value, step in parts["i"]},
        trial_id=head.trial_id,
    )  # fmt: skip


def write(session: Session, dialect: str, trial_id: int, params: Sequence[Param], attrs: Mapping[str, Any]) -> None:
    """Parameters and attributes of a running trial; UpdateFinishedTrialError if it is over."""
    state = session.execute(select(models.TrialModel.state).where(models.TrialModel.trial_id == trial_id)).scalar_one()
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
