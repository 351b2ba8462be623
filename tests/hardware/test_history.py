"""The references' history: kept over processes, robust, and never in the way."""

import math
import random

import pytest

from hardware import history


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_sessions_come_back_in_order_and_old_ones_go():
    assert history.sessions("m1/onnxruntime/1") == []
    for i in range(history.KEPT + 3):
        history.add("m1/onnxruntime/1", {"dense": 1.0 + i})
    history.add("m1/eager/1", {"dense": 7.0})
    kept = history.sessions("m1/onnxruntime/1")
    assert len(kept) == history.KEPT and kept[0] == {"dense": 4.0} and kept[-1] == {"dense": 53.0}
    assert history.sessions("m1/eager/1") == [{"dense": 7.0}]
    assert [p.name for p in history.history_path().parent.iterdir()] == ["references.json"]


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"k": 3}', '{"k": [{"dense": "fast"}, {}, 4, {"dense": -1}]}'])
def test_a_broken_file_is_as_none(text):
    history.history_path().parent.mkdir(parents=True)
    history.history_path().write_text(text)
    assert history.sessions("k") == []
    history.add("k", {"dense": 1.0})
    assert history.sessions("k")[-1] == {"dense": 1.0}


def test_no_place_to_write_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    history.add("k", {"dense": 1.0})
    assert history.sessions("k") == []


def test_usual_is_a_quiet_session():
    earlier = [{"dense": x} for x in (1.0, 1.01, 1.02, 1.02, 1.03, 1.4, 1.5, 2.0)]
    assert history.usual(earlier) == {"dense": 1.02} and history.usual([]) == {}


def test_bias_is_that_of_the_processes_and_not_of_the_machine():
    rng = random.Random(0)
    for sd in (0.004, 0.01):
        earlier = []
        for _ in range(50):
            machine = rng.choice([1.0, 1.0, 1.3, 1.43])  # slow as a whole, at times
            earlier.append({n: x * machine * math.exp(rng.gauss(0, sd)) for n, x in (("a", 0.2), ("b", 0.3), ("c", 0.1))})
        assert history.bias(earlier) == pytest.approx(1.96 * sd, rel=0.45)
    assert history.bias(earlier[:4]) == history.BIAS
    assert history.bias([{"a": 1.0, "b": 1.0}] * 9) == history.LEAST_BIAS


def test_slowdown_is_against_the_best_that_was_seen():
    earlier = [{"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.2, "b": 2.4, "c": 2.5}]
    assert history.slowdown({"a": 1.1, "b": 2.2, "c": 2.5}, earlier) == pytest.approx(1.1)
    assert history.slowdown({"a": 0.9, "b": 1.9, "c": 2.4}, earlier) == 1.0 == history.slowdown({"a": 5.0}, [])
    assert history.slowdown({"a": 9.0, "b": 9.0, "c": 9.0}, earlier) == history.MOST_SLOWDOWN
