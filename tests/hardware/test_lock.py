"""The lock: two measurements never overlap, and a killed holder holds nothing."""

import os
import signal
import stat
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from hardware import lock

HOLD = """
import sys, time
from hardware.lock import exclusive
with exclusive(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""
TAKE_TURNS = """
import sys, time
from hardware.lock import exclusive
for _ in range(30):
    with exclusive(sys.argv[1]):
        start = time.monotonic()
        time.sleep(0.003)
        print(start, time.monotonic())
"""


STEPS = """
import sys, time
from hardware.lock import shared
with shared(sys.argv[1]) as breathe:
    print("in", flush=True)
    end = time.monotonic() + 60
    while time.monotonic() < end:
        start = time.monotonic()
        time.sleep(0.005)
        print(start, time.monotonic(), flush=True)
        breathe()
"""


@pytest.fixture
def device():
    name = f"test-{os.getpid()}"
    yield name
    for turnstile in (False, True):
        if os.path.exists(lock.lock_path(name, turnstile)):
            os.unlink(lock.lock_path(name, turnstile))


def holder(device):
    process = subprocess.Popen([sys.executable, "-c", HOLD, device], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def is_free(device):
    import fcntl

    with open(lock.lock_path(device)) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_held_by_another_process_until_it_is_killed(device):
    process = holder(device)
    try:
        assert not is_free(device)
        process.send_signal(signal.SIGKILL)
        start = time.perf_counter()
        with lock.exclusive(device):
            assert time.perf_counter() - start < 2
            assert not is_free(device)
    finally:
        process.kill()
        process.wait()
    assert is_free(device)


def test_sections_of_two_processes_never_overlap(device):
    both = [subprocess.Popen([sys.executable, "-c", TAKE_TURNS, device], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    slices = sorted(tuple(map(float, line.split())) for p in both for line in p.communicate()[0].splitlines())
    assert len(slices) == 60 and all(p.returncode == 0 for p in both)
    assert all(before[1] <= after[0] for before, after in pairwise(slices))


def test_a_meter_gets_its_turn_among_many_trainers_and_none_steps_meanwhile(device):
    trainers = [subprocess.Popen([sys.executable, "-c", STEPS, device], stdout=subprocess.PIPE, text=True) for _ in range(5)]
    try:
        assert all(p.stdout.readline() == "in\n" for p in trainers)  # all five hold it, at once
        slices, waits = [], []
        for _ in range(20):
            asked = time.monotonic()
            with lock.exclusive(device):
                slices.append((time.monotonic(), time.monotonic() + 0.01))
                waits.append(slices[-1][0] - asked)
                time.sleep(0.01)
            time.sleep(0.01)
        trainers[0].send_signal(signal.SIGSTOP)  # in the middle of a step, holding the device
        trainers[0].kill()
        asked = time.monotonic()
        with lock.exclusive(device):
            assert time.monotonic() - asked < 2
    finally:
        for p in trainers:
            p.kill()
    steps = [
        tuple(map(float, line.split())) for p in trainers for line in p.communicate()[0].splitlines() if line.count(".") == 2
    ]
    assert max(waits) < 2 and len(steps) > 100
    overlaps = [s for s in steps for began, ended in slices if s[0] < ended and began < s[1]]
    assert not overlaps, overlaps
    after = [s for s in steps if s[0] > slices[-1][1]]
    assert len(after) > 0  # and the trainers went on


def test_released_after_an_error_and_readable_by_others(device):
    with pytest.raises(KeyError), lock.exclusive(device):
        raise KeyError
    assert is_free(device)
    assert stat.S_IMODE(os.stat(lock.lock_path(device)).st_mode) == 0o644


def test_without_flock_it_is_said_once(monkeypatch, recwarn):
    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(lock, "_said", False)
    for _ in range(3):
        with lock.exclusive("test-none"):
            pass
    assert [str(w.message) for w in recwarn.list] == ["no flock on this platform: measurements of several processes may overlap"]
