"""A study comes back as it was written, and reading leaves no trace."""

from __future__ import annotations

import csv
import hashlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pandas as pd
import pytest
from conftest import ANCHORS, Faker

from analysis.front import best_under, front, nets
from analysis.records import COLUMNS, FINALISTS, StudyError, list_studies, read, storage_of, write_csv


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def path_of(faker: Faker) -> Path:
    return Path(faker.url.removeprefix("sqlite:///"))


def test_columns_and_rows(finished: Faker) -> None:
    record = finished.read()
    assert tuple(record.trials.columns[:16]) == COLUMNS
    assert record.choices[0] == "skeleton" and "s0.kernel" in record.choices
    assert record.choices.index("skip_alpha") < record.choices.index("s0.kernel") < record.choices.index("s1.kernel")
    assert tuple(record.finalists.columns) == FINALISTS
    # 3 anchors, 24 trained, 2 over budget, 1 failed; the duplicate and the withdrawn are no rows
    assert record.trials["state"].value_counts().to_dict() == {"COMPLETE": 27, "PRUNED": 2, "FAIL": 1}
    assert sorted(record.anchors.values()) == sorted(ANCHORS)
    assert set(record.trials["id"]) == set(record.architectures)
    assert record.trials.loc[record.trials["state"] == "FAIL", "reason"].tolist() == ["loss is NaN at epoch 2"]


def test_finalists_are_means_over_seeds_with_the_latency_of_the_session(finished: Faker) -> None:
    record = finished.read()
    final = optuna.load_study(study_name="demo.finalists", storage=finished.url)
    net = record.finalists.iloc[0]
    values = [t.user_attrs["top1_test"] for t in final.trials if t.user_attrs["id"] == net["id"]]
    assert len(values) == net["seeds"] == 2
    assert net["top1_test"] == pytest.approx(sum(values) / 2)
    assert net["top1_test_sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    clock = final.user_attrs["latency"][net["id"]]
    assert (net["latency_ms"], net["latency_low_ms"], net["latency_n"]) == (clock["latency_ms"], clock["low_ms"], 500)


@pytest.mark.parametrize(
    ("stage", "phase"),
    [
        ("empty", "empty"),
        ("anchors", "searching"),
        ("searching", "searching"),
        ("searched", "finalists"),
        ("finalists", "finalists"),
        ("finished", "finished"),
    ],
)
def test_phases(make, stage: str, phase: str) -> None:
    record = make(stage).read()
    assert record.phase == phase and record.finished is (phase == "finished")


def test_a_running_trial_is_a_row_and_a_waiting_one_is_not(make) -> None:
    faker = make("searched")
    faker.study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.RUNNING, user_attrs={"origin": "search"}))
    faker.study.add_trial(optuna.trial.create_trial(state=optuna.trial.TrialState.WAITING))
    record = faker.read()
    assert record.trials["state"].tolist()[-1] == "RUNNING" and record.phase == "searching"
    assert "WAITING" not in set(record.trials["state"])


def test_a_study_where_all_failed_is_finished_once_it_ended(make) -> None:
    faker = make("empty")
    faker.study.add_trial(
        optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs={"origin": "search", "reason": "x"})
    )
    assert faker.read().phase == "searching"
    faker.study.set_user_attr("ended", "200 proposals in a row brought nothing new")
    assert faker.read().finished and front(faker.read()).empty


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_reading_alters_nothing(make, journal: str) -> None:
    path = path_of(make("finished"))
    with sqlite3.connect(path) as connection:
        connection.execute(f"pragma journal_mode={journal}")
    connection.close()
    before = digest(path)
    read(f"sqlite:///{path}", "demo")
    assert digest(path) == before


def test_what_cannot_be_read_is_one_line_and_stays_as_it_is(tmp_path: Path, finished: Faker) -> None:
    text = tmp_path / "notes.db"
    text.write_text("not a database, but longer than the header of one would be\n" * 40)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("create table mine (x int)")
    connection.close()
    before = digest(text), digest(other)
    cases = {
        f"sqlite:///{text}": "not a readable database",
        f"sqlite:///{other}": "holds no Optuna study",
        f"sqlite:///{tmp_path}/none.db": "there is no file",
        "outputs/demo": "no database URL",
        "sqlite://": "names no file",
    }
    for url, words in cases.items():
        with pytest.raises(StudyError, match=words) as error:
            read(url, "demo")
        assert "\n" not in str(error.value)
    assert (digest(text), digest(other)) == before
    assert sorted(os.listdir(tmp_path)) == ["notes.db", "other.db"]
    with pytest.raises(StudyError, match=r"there is no study 'nope'.*there is demo"):
        read(finished.url, "nope")


def test_a_password_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(StudyError) as error:
        read("postgresql+psycopg://me:secret@127.0.0.1:1/none", "demo")
    assert "secret" not in str(error.value)


def test_studies_of_a_folder(make, finished: Faker) -> None:
    outputs = path_of(finished).parent.parent
    assert [(s.name, s.phase) for s in list_studies(outputs)] == [("demo", "finished")]
    assert [s.name for s in list_studies(finished.url)] == ["demo"]  # the finalists' study is part of it
    assert list_studies(outputs / "nowhere") == []


def test_csv(finished: Faker, tmp_path: Path) -> None:
    record = finished.read()
    write_csv(record, tmp_path)
    write_csv(record, tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["front.csv", "trials.csv"]
    with open(tmp_path / "trials.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0])[:16] == COLUMNS and len(rows) == 30
    gateless = next(r for r in rows if r["id"] == next(i for i, n in record.anchors.items() if n == "mobilenet_v1-0.25"))
    assert gateless["keep_rate"] == "" and gateless["epochs"] == "3" and gateless["origin"] == "anchor"
    table = pd.read_csv(tmp_path / "front.csv")
    assert set(table.columns) == {*rows[0], "top1_test"}
    assert table["id"].tolist() == front(record)["id"].tolist()
    assert table["top1_test"].notna().all() and (table["epochs"] == 12).all() and table["seed"].tolist() == ["0 1"] * len(table)


def test_the_front_is_chosen_on_validation_and_holds_the_budget(finished: Faker, make) -> None:
    record = finished.read()
    table, chosen = nets(record), front(record)
    for _, net in table.iterrows():
        beaten = ((table["top1_val"] > net["top1_val"]) & (table["latency_ms"] <= net["latency_ms"])).any()
        assert beaten != (net["id"] in set(chosen["id"]))
    tight = make("finished", max_latency_ms=0.3).read()
    assert (front(tight)["latency_ms"] <= 0.3).all() and len(front(tight)) > 0


def test_best_under_is_the_most_accurate_that_fits(finished: Faker) -> None:
    record = finished.read()
    table = nets(record)
    budget = float(table["latency_ms"].median())
    best = best_under(record, budget)
    assert best is not None and best["latency_ms"] <= budget
    assert best["top1_val"] == table.loc[table["latency_ms"] <= budget, "top1_val"].max()
    assert best_under(record, 1e-6) is None


def test_one_unreadable_study_does_not_hide_the_others(make) -> None:
    outputs = path_of(make("finished")).parent.parent
    (outputs / "bad").mkdir()
    (outputs / "bad" / "study.db").write_text("no database")
    bad, good = list_studies(outputs)
    assert (good.name, good.phase) == ("demo", "finished") and bad.name == "bad" and "not a readable database" in bad.phase


def test_a_study_that_was_cut_off_in_a_write_is_read(make) -> None:
    """A hot journal, made by a process that dies in the middle of a write that had reached the file."""
    faker = make("finished")
    path = str(path_of(faker))
    code = (
        "import os, sqlite3, sys\n"
        "db = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "db.execute('pragma cache_size = 1'); db.execute('begin immediate')\n"
        "db.execute('delete from trial_user_attributes'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", code, path]).returncode == 9
    assert Path(f"{path}-journal").exists()
    before = Path(path).read_bytes()
    record = read(faker.url, "demo")
    assert record.phase == "finished" and record.trials["id"].ne("").all() and Path(path).read_bytes() == before


def test_a_study_that_lives_elsewhere_is_found_by_its_folder(tmp_path: Path, make) -> None:
    faker = make("finished")
    folder = tmp_path / "outputs" / "demo"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"name: demo\nstorage: {faker.url}\n")
    assert storage_of(folder) == faker.url and [s.name for s in list_studies(tmp_path / "outputs")] == ["demo"]
    assert storage_of(tmp_path / "none").endswith("none/study.db")
