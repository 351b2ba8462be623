"""The regime: its rules on invented machines whose answer is known, its twins, and one real net."""

import dataclasses

import pytest

from hardware import Meter
from hardware.meter import Latency
from hardware.regime import classify, deeper, regime, regimes, wider
from hardware.setting import Setting
from searchspace import anchor, count
from searchspace.complexity import Count
from searchspace.network import build

NETS = ["mobilenet_v1-0.25-32", "mobilenet_v2-0.5-32", "mobilenet_v3_small-0.5-64", "resnet_20", "skipnet_20-ff1"]


@pytest.mark.parametrize("name", NETS)
def test_twins_are_architectures_that_build(name):
    a = anchor(name).without_gates()
    plain, wide, deep = count(a), count(wider(a)), count(deeper(a))
    assert 2.5 < wide.macs / plain.macs <= 4 and len(wide.by_block) == len(plain.by_block)
    assert 1 < deep.macs / plain.macs < 2.5 and len(deep.by_block) == len(plain.by_block) + len(a.stages)
    for twin in (wider(a), deeper(a)):
        build(twin)


def test_rules():
    assert classify(batch_growth=1.1, of_peak=0.9) == "launch"
    assert classify(batch_growth=3.9, of_peak=0.8) == "compute" and classify(batch_growth=3.0, of_peak=0.1) == "bandwidth"


class Machine(Meter):
    """Time is a law of the net instead of a clock."""

    def __init__(self, launch_ms: float, gmacs: float, batch: int = 1):
        self.law, self.batch = (launch_ms, gmacs), batch
        self.setting = Setting("cpu", "law", 1, batch)

    def latency(self, c: Count) -> Latency:
        launch, gmacs = self.law
        ms = launch * len(c.by_block) + self.batch * c.macs / gmacs / 1e6
        return Latency(ms, ms, ms, 9, "law", "m", False, "", None, 1, self.batch)

    def measure(self, nets, **more):
        return [self.latency(count(n)) for n in nets]


@pytest.fixture
def by_law(monkeypatch):
    monkeypatch.setattr(Machine, "protocol", {}, raising=False)

    def told(launch_ms: float, gmacs: float, peak: float):
        meter = Machine(launch_ms, gmacs)
        monkeypatch.setattr("hardware.regime.Meter", lambda batch, **more: Machine(launch_ms, gmacs, batch))
        return regime(meter, anchor("resnet_20"), peak)

    monkeypatch.setattr(Machine, "__enter__", lambda self: self)
    monkeypatch.setattr(Machine, "__exit__", lambda self, *e: None)
    return told


def test_a_machine_that_only_launches(by_law):
    r = by_law(launch_ms=1.0, gmacs=1e9, peak=100.0)
    assert r.name == "launch" and r.batch_growth == pytest.approx(1) and r.width_growth == pytest.approx(1)
    assert "width is nearly free" in r.advice and "depth costs as its mult-adds do" in r.advice and "x0.25" in r.advice


def test_a_machine_that_only_computes(by_law):
    r = by_law(launch_ms=0.0, gmacs=90.0, peak=100.0)
    assert r.name == "compute" and r.of_peak == pytest.approx(0.9) and r.batch_growth == pytest.approx(4)
    assert r.width_growth == pytest.approx(r.width_macs) and "width costs as its mult-adds do" in r.advice
    assert by_law(launch_ms=0.0, gmacs=20.0, peak=100.0).name == "bandwidth"


def test_a_real_net_and_its_gated_form():
    with Meter("cpu", spread_s=0) as meter:
        plain, gated = regimes(meter, [anchor("resnet_20"), anchor("skipnet_20-rnn")], peak=1000.0)
    assert dataclasses.replace(plain).width_growth > 1.5 and 0 < plain.of_peak < 1
    assert gated.width_macs == plain.width_macs  # judged by its ungated twin
