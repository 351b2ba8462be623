"""Optuna's trials read in one statement: what a study of ten thousand trials, its report, and sixteen workers live on.

Optuna's own storage builds an object a row. The tables are Optuna's, and so are the values that come out (tests/study/
test_bulk.py reads both ways and compares). Only for DIALECTS: MySQL, say, cuts long documents off.
"""

from __future__ import annotations

import contextlib
import gc
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from optuna import distributions
from optuna.distributions import BaseDistribution
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import (
    Connection,
    Float,
    Integer,
    String,
    Text,
    and_,
    bindparam,
    cast,
    func,
    literal,
    null,
    or_,
    select,
    union_all,
)
from sqlalchemy.dialects import postgresql

DIALECTS = ("postgresql", "sqlite")
TRIAL, PARAM = models.TrialModel.__table__.c, models.TrialParamModel.__table__.c
NOTED, OPTUNAS = models.TrialUserAttributeModel.__table__.c, models.TrialSystemAttributeModel.__table__.c
VALUE, STEP = models.TrialValueModel.__table__.c, models.TrialIntermediateValueModel.__table__.c
LAST = 2**31 - 1
PAGE = 1000  # trials
IDS = 500  # in one statement: an old SQLite takes 999 values
CATEGORICAL = '{"name": "CategoricalDistribution"'  # how Optuna begins to write one
distribution_of = lru_cache(maxsize=None)(distributions.json_to_distribution)  # there are few, and nobody alters them


Parts = dict[str, list[Any]]  # kind (_rows) -> rows of a trial


def read_trials(connection: Connection, study_id: int, ids: Iterable[int], above: int) -> list[FrozenTrial]:
    """The trials of a study with these ids (unfinished ones: as many as there are workers and plans) or with one above, by id."""
    kept = _unfinished(connection.engine.pool, study_id)
    return _read(connection, {"study": study_id, "ids": sorted(ids), "above": above}, kept)


def read_states(connection: Connection, study_id: int, states: Iterable[TrialState]) -> list[FrozenTrial]:
    """The trials of a study that are in one of these states, by id: of ten thousand the few that run or failed."""
    of_states = TRIAL.study_id == study_id, TRIAL.state.in_(list(states))
    ids = list(connection.execute(select(TRIAL.trial_id).where(*of_states).order_by(TRIAL.trial_id)).scalars())
    found = []
    for k in range(0, len(ids), IDS):  # one may have moved on meanwhile
        chosen = {"study": study_id, "ids": ids[k : k + IDS], "above": LAST}
        found += [t for t in _read(connection, chosen, {}) if t.state in states]
    return found


def count_states(connection: Connection, study_id: int) -> dict[TrialState, int]:
    """How many trials of a study are in each state."""
    each = select(TRIAL.state, func.count()).where(TRIAL.study_id == study_id).group_by(TRIAL.state)
    return dict(connection.execute(each).tuples().all())


def read_values(connection: Connection, study_id: int, key: str) -> list[Any]:
    """What the trials of a study say of themselves under one user attribute, where they say it."""
    of_study = select(NOTED.value_json).where(NOTED.trial_id == TRIAL.trial_id, TRIAL.study_id == study_id, NOTED.key == key)
    return [json.loads(text) for text in connection.execute(of_study).scalars()]


def read_trial(connection: Connection, trial_id: int, study: int | None = None) -> FrozenTrial:
    """One trial (of that study, if it is known); KeyError without it."""
    if study is None:
        study = connection.execute(select(TRIAL.study_id).where(TRIAL.trial_id == trial_id)).scalar()
    if study is None or not (found := _read(connection, {"study": study, "ids": [trial_id], "above": LAST}, {})):
        raise KeyError(f"there is no trial {trial_id}")
    return found[0]


def _read(connection: Connection, chosen: Mapping[str, Any], kept: dict[int, tuple[Parts, FrozenTrial]]) -> list[FrozenTrial]:
    """`kept`: unfinished trials of the last read; one that is as it was is not made again, and those of this read take its place.
    Of a worker's looks at its fifteen colleagues that was most of the time."""
    of_choices = choices_read(connection, chosen["study"])
    in_turn = threading.Lock()  # one connection

    def fetched(page: Mapping[str, Any]) -> Sequence[Any]:
        with in_turn:  # all at once: fetched one by one, rows take twice as long
            return connection.execute(_rows(connection.dialect.name), page).all()

    def distribution(id_: int, name: str) -> BaseDistribution:
        """Of a choice: the same in all trials of a study, Optuna takes no other."""
        if name not in of_choices:
            asked = select(PARAM.param_name, PARAM.distribution_json).where(PARAM.trial_id == id_)
            with in_turn:
                told = connection.execute(asked).all()
            of_choices.update((n, distribution_of(text)) for n, text in told if text.startswith(CATEGORICAL))
        return of_choices[name]

    pages, found = _pages(connection, chosen), []
    running: dict[int, tuple[Parts, FrozenTrial]] = {}
    if first := len(pages) > 1 and not kept:
        gc.collect()  # what is no longer used must not be kept with them
    with _no_collection(), ThreadPoolExecutor(1) as beside:
        # of a large study the server gathers the next trials while these are taken apart here
        for rows in (beside.map if len(pages) > 1 else map)(fetched, pages):
            parts: dict[int, Parts] = {}
            for kind, id_, *row in rows:
                if id_ not in parts:
                    parts[id_] = {kind: [] for kind in "tuscpvi"}
                parts[id_][kind].append(row)
            for id_ in sorted(parts):
                before, trial = kept.get(id_, (None, None))
                if trial is None or before != parts[id_]:
                    trial = _frozen(id_, parts[id_], distribution)
                if not trial.state.is_finished():
                    running[id_] = parts[id_], trial
                found.append(trial)
        if first:
            gc.freeze()  # they stay as long as the study is open: each later look at them all would take half a second
    kept.clear()
    kept.update(running)
    return found


def _pages(connection: Connection, chosen: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The trials chosen, in parts of PAGE where a server is asked for a whole study."""
    ends = []
    if chosen["above"] < 0 and connection.dialect.name == "postgresql":
        every = select(TRIAL.trial_id).where(TRIAL.study_id == chosen["study"]).order_by(TRIAL.trial_id)
        ends = list(connection.execute(every).scalars())[PAGE - 1 : -1 : PAGE]
    return [{**chosen, "above": above, "upto": upto} for above, upto in zip([chosen["above"], *ends], [*ends, LAST])]


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Of ten thousand trials the collector looks through every object, again and again, and all of them stay: a quarter of the
    time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def choices_read(connection: Connection, study_id: int) -> dict[str, BaseDistribution]:
    """Choice -> distribution, as far as this process has met them in the trials of a study."""
    return _named(connection.engine.pool, study_id)


@lru_cache
def _unfinished(_pool: Any, _study: int) -> dict[int, tuple[Parts, FrozenTrial]]:
    return {}


@lru_cache
def _named(_pool: Any, _study: int) -> dict[str, BaseDistribution]:
    return {}


@lru_cache
def _rows(dialect: str) -> Any:
    """kind, trial, name, text, number, order: the trials and all that hangs on them, in one statement. The server writes the
    attributes of a trial into one document, and its choices into another: fetched and parsed one by one they cost workers and
    reports most of their time. Other numbers stay numbers, for SQLite writes them with 15 digits."""
    if dialect == "postgresql":  # a list is one value there, and the statement stays the same whatever its length
        among = TRIAL.trial_id == func.any(bindparam("ids", type_=postgresql.ARRAY(Integer)))
    else:
        among = TRIAL.trial_id.in_(bindparam("ids", expanding=True))
    mine, above = TRIAL.study_id == bindparam("study"), TRIAL.trial_id > bindparam("above")
    ours = select(*TRIAL).where(mine, or_(among, and_(above, TRIAL.trial_id <= bindparam("upto")))).cte("ours")
    no_text, no_number, no_order = cast(null(), Text), cast(null(), Float(53)), cast(null(), Integer)

    def each(kind: str, row: Any, *columns: Any) -> Any:
        return select(literal(kind), row.trial_id, *columns).where(row.trial_id.in_(select(ours.c.trial_id)))

    def attributes(kind: str, a: Any) -> Any:
        text = "{" + func.aggregate_strings(_quoted(a.key) + ":" + a.value_json, ",") + "}"
        return each(kind, a, no_text, text, no_number, no_order).group_by(a.trial_id)

    categorical = PARAM.distribution_json.like(CATEGORICAL + "%")
    choice = (
        "[" + cast(PARAM.param_id, Text) + "," + _quoted(PARAM.param_name) + "," + cast(cast(PARAM.param_value, Integer), Text)
    )
    chosen = "[" + func.aggregate_strings(choice + "]", ",") + "]"
    times = func.coalesce(cast(ours.c.datetime_start, Text), "") + "|" + func.coalesce(cast(ours.c.datetime_complete, Text), "")
    return union_all(
        select(literal("t"), ours.c.trial_id, cast(ours.c.state, String), times, no_number, ours.c.number),
        attributes("u", NOTED),
        attributes("s", OPTUNAS),
        each("c", PARAM, no_text, chosen, no_number, no_order).where(categorical).group_by(PARAM.trial_id),
        each("p", PARAM, PARAM.param_name, PARAM.distribution_json, PARAM.param_value, PARAM.param_id).where(~categorical),
        each("v", VALUE, cast(VALUE.value_type, String), no_text, VALUE.value, VALUE.objective),
        each("i", STEP, cast(STEP.intermediate_value_type, String), no_text, STEP.intermediate_value, STEP.step),
    )


def _quoted(text: Any) -> Any:
    """As a JSON string."""
    return '"' + func.replace(func.replace(text, "\\", "\\\\"), '"', '\\"') + '"'


def _time(text: str) -> datetime | None:
    """Stored without a zone, in UTC; Optuna tells local time, without one too."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).astimezone().replace(tzinfo=None) if text else None


def _frozen(trial_id: int, parts: Parts, distribution: Callable[[int, str], BaseDistribution]) -> FrozenTrial:
    ((state, times, _, number),) = parts["t"]
    begun, over = map(_time, times.split("|"))
    chosen = sorted(json.loads(parts["c"][0][1])) if parts["c"] else []  # order, name, index
    asked: dict[str, Any] = {name: distribution(trial_id, name) for _, name, _ in chosen}
    params = {name: asked[name].choices[index] for _, name, index in chosen}
    if parts["p"]:  # of other kinds, among the choices
        order = {name: k for k, name, _ in chosen}
        for name, text, value, k in parts["p"]:
            order[name], asked[name] = k, distribution_of(text)
            params[name] = asked[name].to_external_repr(value)
        params, asked = ({name: of[name] for name in sorted(order, key=order.__getitem__)} for of in (params, asked))
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
        params=params,
        distributions=asked,
        user_attrs=json.loads(parts["u"][0][1]) if parts["u"] else {},
        system_attrs=json.loads(parts["s"][0][1]) if parts["s"] else {},
        intermediate_values={step: infinite.stored_repr_to_intermediate_value(value, infinite.TrialIntermediateValueType[kind])
                             for kind, _, value, step in parts["i"]},
        trial_id=trial_id,
    )  # fmt: skip
