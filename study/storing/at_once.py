"""What a worker does to its storage at each trial, on PostgreSQL, most of it in one statement that is a transaction of its own.

Optuna's storage, and study/storing/bulk.py for other databases, begin, look, write and commit: four ways to the server and back
where one will do. With sixteen workers on two cores that was a fifth of what a trial cost; with a server further away it is time
that a worker waits. The tables and the values are Optuna's (tests/study/test_bulk.py reads them back through it).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import distribution_to_json
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._rdb.models import TrialValueModel
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, text

from study.storing.bulk import Param

WRITE = text("""
    with open as (select trial_id from trials where trial_id = :id and state in ('RUNNING', 'WAITING')),
    chosen as (
        insert into trial_params (trial_id, param_name, param_value, distribution_json)
        select trial_id, name, value, distribution
        from open, unnest(cast(:names as text[]), cast(:values as float8[]), cast(:distributions as text[]))
            with ordinality as told (name, value, distribution, place)
        order by place
        on conflict (trial_id, param_name) do update
            set param_value = excluded.param_value, distribution_json = excluded.distribution_json),
    noted as (
        insert into trial_user_attributes (trial_id, key, value_json)
        select trial_id, key, value
        from open, unnest(cast(:keys as text[]), cast(:told as text[])) with ordinality as told (key, value, place)
        order by place
        on conflict (trial_id, key) do update set value_json = excluded.value_json)
    select count(*) from open
""")
FINISH = text("""
    with moved as (
        update trials set state = cast(:state as trialstate), datetime_complete = :now
        where trial_id = :id and state in ('RUNNING', 'WAITING') returning trial_id),
    valued as (
        insert into trial_values (trial_id, objective, value, value_type)
        select trial_id, place - 1, value, cast(kind as trialvaluetype)
        from moved, unnest(cast(:values as float8[]), cast(:kinds as text[])) with ordinality as told (value, kind, place)
        on conflict (trial_id, objective) do update set value = excluded.value, value_type = excluded.value_type)
    select count(*) from moved
""")
HEARD = text("""
    insert into trial_heartbeats (trial_id, heartbeat) select trial_id, current_timestamp from trials where trial_id = :id
    on conflict (trial_id) do update set heartbeat = excluded.heartbeat
""")
# two statements: the count must see what was committed while it waited for the lock
LOCK = text("select study_id from studies where study_id = :study for update")
BEGIN = text("""
    insert into trials (number, study_id, state, datetime_start)
    select count(*), :study, 'RUNNING', :now from trials where study_id = :study returning trial_id, number
""")
THERE = text("select trial_id from trials where trial_id = :id")
ATTRIBUTES = text("""
    select key, value_json from studies left join study_user_attributes using (study_id) where study_id = :study
""")


def prepared(connection: Any, _: Any) -> None:
    """Has a new connection of psycopg keep what the server made of a statement, but plan each execution by what is asked: a plan
    for lists of any length, or one made while the tables were empty, reads whole tables where ours names sixteen trials. A server
    that cannot (before PostgreSQL 12) keeps nothing."""
    if connection.info.server_version < 120_000:
        connection.prepare_threshold = None
        return
    connection.prepare_threshold = 2
    connection.execute("set plan_cache_mode = force_custom_plan")
    connection.commit()


def write(connection: Connection, trial_id: int, params: Sequence[Param], attrs: Mapping[str, Any]) -> None:
    """Parameters and attributes of a running trial; UpdateFinishedTrialError if it is over, KeyError without it."""
    last = {name: (float(value), distribution_to_json(d)) for name, value, d in params}  # chosen twice: the last one holds
    told = {
        "id": trial_id,
        "names": list(last),
        "values": [value for value, _ in last.values()],
        "distributions": [d for _, d in last.values()],
        "keys": list(attrs),
        "told": [json.dumps(value) for value in attrs.values()],
    }
    if not connection.execute(WRITE, told).scalar():
        raise _not_open(connection, trial_id)


def finish(connection: Connection, trial_id: int, state: TrialState, values: Sequence[float] | None) -> None:
    """A trial is over, with its values; UpdateFinishedTrialError if it was before, KeyError without it."""
    stored = [TrialValueModel.value_to_stored_repr(float(value)) for value in values or ()]
    told = {
        "id": trial_id,
        "state": state.name,
        "now": _now(),
        "values": [number for number, _ in stored],
        "kinds": [kind.name for _, kind in stored],
    }
    if not connection.execute(FINISH, told).scalar():
        raise _not_open(connection, trial_id)


def hear(connection: Connection, trial_id: int) -> None:
    """A sign of life, by the server's clock."""
    connection.execute(HEARD, {"id": trial_id})


def begin(connection: Connection, study_id: int) -> FrozenTrial:
    """A new trial, running, in a transaction of both statements. KeyError if there is no such study."""
    if connection.execute(LOCK, {"study": study_id}).first() is None:
        raise KeyError(f"there is no study {study_id}")
    now = _now()
    trial_id, number = connection.execute(BEGIN, {"study": study_id, "now": now}).one()
    begun = now.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)  # Optuna tells local time
    return FrozenTrial(number=number, state=TrialState.RUNNING, value=None, datetime_start=begun, datetime_complete=None,
                       params={}, distributions={}, user_attrs={}, system_attrs={}, intermediate_values={},
                       trial_id=trial_id)  # fmt: skip


def study_attributes(connection: Connection, study_id: int) -> dict[str, Any]:
    """User attributes; KeyError if there is no such study."""
    if not (rows := connection.execute(ATTRIBUTES, {"study": study_id}).all()):
        raise KeyError(f"there is no study {study_id}")
    return {key: json.loads(value) for key, value in rows if key is not None}


def _not_open(connection: Connection, trial_id: int) -> Exception:
    there = connection.execute(THERE, {"id": trial_id}).first()
    return UpdateFinishedTrialError(f"the trial {trial_id} is over") if there else KeyError(f"there is no trial {trial_id}")


def _now() -> datetime:
    """Stored without a zone, in UTC."""
    return datetime.now(UTC).replace(tzinfo=None)
