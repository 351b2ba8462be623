"""The references' history: kept over processes, robust, and never in the way."""

import math
import random

import pytest

from hardware import history
from hardware.history import Session


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def session(least, level=None):
    return Session(dict(least), dict(level or least))


def test_sessions_come_back_in_order_and_old_ones_go():
    assert history.sessions("m1/onnxruntime/1") == []
    for i in range(history.KEPT + 3):
        history.add("m1/onnxruntime/1", session({"dense": 1.0 + i}, {"dense": 1.1 + i}))
    history.add("m1/eager/1", session({"dense": 7.0}))
    kept = history.sessions("m1/onnxruntime/1")
    assert len(kept) == history.KEPT and kept[0] == session({"dense": 4.0}, {"dense": 4.1})
    assert kept[-1].least == {"dense": 53.0} and history.sessions("m1/eager/1") == [session({"dense": 7.0})]
    assert [p.name for p in history.history_path().parent.iterdir()] == ["references.json"]


BROKEN = ["", "{", "[1]", '{"k": 3}', '{"k": [{"dense": 1.0}, {}, 4, {"least": {"dense": -1}, "level": {"dense": 1}}]}',
          '{"k": [{"least": {"a": 1}, "level": {"b": 1}}, {"least": {}, "level": {}}]}']  # fmt: skip


@pytest.mark.parametrize("text", BROKEN)
def test_a_broken_file_is_as_none(text):
    history.history_path().parent.mkdir(parents=True)
    history.history_path().write_text(text)
    assert history.sessions("k") == []
    history.add("k", session({"dense": 1.0}))
    assert history.sessions("k")[-1] == session({"dense": 1.0})


def test_no_place_to_write_is_no_error(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    history.add("k", session({"dense": 1.0}))
    assert history.sessions("k") == []


def test_the_best_is_the_least_but_for_one_glitch():
    earlier = [session({"dense": x}) for x in (1.01, 1.4, 1.02, 1.0)]
    assert history.best(earlier) == {"dense": 1.0} and history.best([]) == {}
    assert history.best([*earlier, session({"dense": 0.5})]) == {"dense": 1.0}  # from the fifth on the second least


def test_slower_is_against_a_quiet_session():
    earlier = [session({"dense": x}) for x in (1.0, 1.01, 1.02, 1.02, 1.03, 1.4, 1.5, 2.0)]
    assert history.slower(session({"dense": 1.02 * 1.2}), earlier) == pytest.approx(1.2)
    assert history.slower(session({"dense": 9.0}), []) == 1.0


def test_the_pace_is_what_the_references_say():
    now = session({"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 1.04, "b": 2.08, "c": 3.12})
    alone = history.pace(now, [])
    assert alone.factor == pytest.approx(1 / 1.04) and alone.error == pytest.approx(history.UNSEEN)  # nothing to compare with
    earlier = [session({"a": 0.95, "b": 1.9, "c": 2.85}, {"a": 1.0, "b": 2.0, "c": 3.0})] * 9
    assert history.pace(now, earlier).factor == pytest.approx(0.95 / 1.04)
    uneven = session(now.least, {"a": 1.04, "b": 2.2, "c": 3.12})
    assert history.pace(uneven, earlier).error > 0.02 and history.pace(uneven, earlier).factor == pytest.approx(0.95 / 1.04)
    # a third slower than ever: another state of the machine, whose own best counts
    throttled = session({k: 1.5 * v for k, v in now.least.items()}, {k: 1.5 * v for k, v in now.level.items()})
    assert history.pace(throttled, earlier).factor == pytest.approx(1 / 1.04)
    faster = session({"a": 0.5}, {"a": 0.5})
    assert history.pace(faster, [session({"a": 1.0})] * 9).factor == 1.0


def test_bias_is_that_of_the_processes_and_not_of_the_machine():
    rng = random.Random(0)
    for sd in (0.007, 0.012):
        earlier = []
        for _ in range(50):
            machine = rng.choice([1.0, 1.0, 1.3, 1.43])  # slow as a whole, at times
            found = {n: x * machine * math.exp(rng.gauss(0, sd)) for n, x in (("a", 0.2), ("b", 0.3), ("c", 0.1))}
            earlier.append(session(found))
        assert history.bias(earlier) == pytest.approx(1.96 * sd, rel=0.45)
    assert history.bias(earlier[:4]) == history.BIAS
    assert history.bias([session({"a": 1.0, "b": 1.0})] * 9) == history.LEAST_BIAS
