"""The protocol in a world whose clock is made up, so that the right answer is known; then for real, with ONNX
Runtime."""

import gc
import itertools
import os
import random

import numpy as np
import pytest
import torch
from torch import nn

from hardware import MeasureError, Meter, RuntimeUnavailable
from hardware.runtimes import RUNTIMES, Runtime
from searchspace.architecture import Architecture, Block, Head, Stage, Stem
from tests.hardware.noise import bursts, drift, jitter

STATIC = Architecture(Stem(8), (Stage((Block("residual", 8),)),), Head(), 16, 5)
GATED = Architecture(
    Stem(8),
    (Stage((Block("residual", 8), Block("residual", 8, gate="rnn"), Block("residual", 8, gate="rnn"))),),
    Head(),
    16,
    5,
    gate_sharing="shared",
    skip_alpha=0.1,
)


class Job(nn.Module):
    """A net that takes `true_ms`, before noise."""

    def __init__(self, true_ms):
        super().__init__()
        self.true_ms = true_ms

    def forward(self, x):
        return torch.ones(len(x), 2)


class World:
    """Seconds pass only when a net runs or somebody sleeps. noise(now, random) -> factor >= 1 of a call's
    time."""

    def __init__(self, noise=lambda now, draw: 1.0, share=1.0):
        self.now, self.cpu, self.slept, self.calls, self.noise, self.share = 100.0, 0.0, 0.0, [], noise, share
        self.draw = random.Random(3)
        self.noise_of = {}  # ms -> the noise of that net alone

    def clock(self):
        return self.now

    def cpu_clock(self):
        return self.cpu

    def sleep(self, seconds):
        self.now += seconds
        self.slept += seconds

    def run(self, ms):
        took = ms / 1e3 * self.noise_of.get(ms, self.noise)(self.now, self.draw)
        self.calls.append((self.now, ms, gc.isenabled()))
        self.now += took
        self.cpu += took * self.share


@pytest.fixture
def meter_in(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # an invented clock is no history of this machine

    def make(world, **options):
        class Fake(Runtime):
            name = "fake"

            def _prepare(self, module, shape, mean, std, images):
                self.ms = getattr(module, "true_ms", 0.2)  # the references have none

            def load(self, pixels):
                return pixels

            def run(self, x):
                world.run(self.ms)
                return np.ones((1, 2))

            def read(self, out):
                return out, None

            @classmethod
            def version(cls):
                return "fake 1"

        monkeypatch.setitem(RUNTIMES, "fake", lambda: Fake)
        return Meter("cpu", "fake", clock=world.clock, cpu_clock=world.cpu_clock, sleep=world.sleep, **options)

    return make


def two_frequencies(now, draw):
    return (1.4 if int(now / 0.17) % 3 else 1.0) * (1 + draw.expovariate(1 / 0.01))


def timm(world, ms):
    """The plain protocol: 10 calls to warm up, then the mean of 40."""
    times = []
    for _ in range(50):
        before = world.clock()
        world.run(ms)
        times.append((world.clock() - before) * 1e3)
    return float(np.mean(times[10:]))


NETS = [0.5, 1.0, 1.03, 4.0]
PREPARING = 5  # calls: four whose logits are compared, one that is timed


@pytest.mark.parametrize("noise", [jitter, drift, bursts, two_frequencies])
def test_the_protocol_recovers_what_the_mean_does_not(meter_in, noise):
    inside = []
    for seed in range(6):
        world = World(noise)
        world.draw.seed(seed)
        rows = meter_in(world).measure([Job(ms) for ms in NETS], (1, 3, 8, 8))
        for row, truth in zip(rows, NETS, strict=True):
            assert row.latency_ms == pytest.approx(truth, rel=0.025)
            inside.append(row.low_ms <= truth <= row.high_ms)
        world = World(noise)
        means = [timm(world, ms) for ms in NETS]
        assert max(abs(mean / truth - 1) for mean, truth in zip(means, NETS, strict=True)) > 0.04
        if noise is not jitter:
            assert max(abs(mean / truth - 1) for mean, truth in zip(means, NETS, strict=True)) > 0.3
    assert np.mean(inside) >= 0.9


def test_a_machine_that_is_slow_today_gives_the_value_of_other_days(meter_in):
    """The references of five earlier processes say what the pace usually is here; a machine half as fast is another machine."""
    for _ in range(5):
        (row,) = meter_in(World(jitter)).measure([Job(1.0)], (1, 3, 8, 8))
    assert row.pace > 0.98
    slow = lambda now, draw: 1.1 * jitter(now, draw)  # noqa: E731
    (today,) = meter_in(World(slow)).measure([Job(1.0)], (1, 3, 8, 8))
    assert today.latency_ms == pytest.approx(1.0, rel=0.02) and today.least_ms > 1.09 and today.busy
    assert today.pace == pytest.approx(1 / 1.1, rel=0.02) and today.low_ms <= 1.0 <= today.high_ms
    other = lambda now, draw: 2 * jitter(now, draw)  # noqa: E731
    (today,) = meter_in(World(other)).measure([Job(1.0)], (1, 3, 8, 8))
    assert today.latency_ms == pytest.approx(2.0, rel=0.02) and today.busy


def test_a_quiet_machine_is_done_after_six_rounds_spread_over_two_seconds(meter_in):
    world = World()
    (row,) = meter_in(world).measure([Job(1.0)], (1, 3, 8, 8))
    assert (row.n, row.stopped, row.busy, row.keep_rate) == (24, "within 1 %", False, None)
    starts = [now for now, ms, _ in world.calls if ms == 1.0]
    assert starts[-1] - starts[PREPARING] >= 2.0
    assert world.slept > 1.8


def test_a_noisy_net_goes_on_to_24_rounds_alone(meter_in):
    world = World()
    world.noise_of[2.0] = lambda now, draw: 1 + draw.random()
    calm, noisy = meter_in(world).measure([Job(1.0), Job(2.0)], (1, 3, 8, 8))
    assert (calm.n, calm.stopped) == (24, "within 1 %")
    assert (noisy.n, noisy.stopped) == (96, "24 rounds")


def test_the_budget_of_a_net_is_kept(meter_in):
    world = World(jitter)
    rows = meter_in(world).measure([Job(0.5), Job(10.0), Job(40.0)], (1, 3, 8, 8), max_ms=50)
    assert rows[0].stopped in ("within 1 %", "24 rounds") and [r.stopped for r in rows[1:]] == ["max_ms"] * 2
    for row, ms in zip(rows[:2], (0.5, 10.0), strict=True):
        rounds = [m for _, m, _ in world.calls if m == ms][PREPARING:]
        assert len(rounds) * ms <= 50 and row.n >= 2
    assert rows[2].n == 2  # an interval needs two calls, whatever the budget


def test_small_nets_get_more_calls_a_visit_and_fewer_under_a_budget(meter_in):
    def visits(max_ms):
        world = World()
        meter_in(world).measure([Job(0.1), Job(0.5), Job(2.0)], (1, 3, 8, 8), max_ms=max_ms)
        return [max(len(list(g)) for k, g in itertools.groupby(m for _, m, _ in world.calls[3 * PREPARING :]) if k == ms) - 1
                for ms in (0.1, 0.5, 2.0)]  # fmt: skip

    assert visits(None) == [38, 6, 4] and visits(50) == [23, 4, 4]


def test_visits_are_interleaved_and_shuffled_alike_every_time(meter_in):
    orders = []
    for _ in range(2):
        world = World()
        nets = [1.0, 1.03, 2.0, 4.0]
        meter_in(world).measure([Job(ms) for ms in nets], (1, 3, 8, 8))
        ms = [m for _, m, _ in world.calls if m != 0.2][PREPARING * len(nets) :]
        visits = ms[::5]  # one call unrecorded, four recorded
        assert all(ms[i : i + 5] == [v] * 5 for i, v in zip(range(0, len(ms), 5), visits, strict=True))
        rounds = [tuple(visits[i : i + 4]) for i in range(0, len(visits), 4)]
        assert len(rounds) == 6 and all(sorted(r) == nets for r in rounds) and len(set(rounds)) > 1
        orders.append(rounds)
    assert orders[0] == orders[1]


def test_the_collector_is_off_while_the_clock_runs_and_the_core_is_given_back(meter_in):
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    world = World()
    meter_in(world).measure([Job(1.0)], (1, 3, 8, 8))
    assert not any(collecting for _, _, collecting in world.calls[PREPARING + 3 :]) and gc.isenabled()
    assert cores is None or os.sched_getaffinity(0) == cores


def test_busy_when_the_references_are_slow_or_the_core_is_shared(meter_in):
    world = World()
    meter = meter_in(world)
    assert not meter.measure([Job(1.0)], (1, 3, 8, 8))[0].busy
    world.noise = lambda now, draw: 1.05
    assert meter.measure([Job(1.0)], (1, 3, 8, 8))[0].busy
    world.noise = lambda now, draw: 1.01
    assert not meter.measure([Job(1.0)], (1, 3, 8, 8))[0].busy
    world.share = 0.5
    assert meter.measure([Job(1.0)], (1, 3, 8, 8))[0].busy
    many = meter_in(World(share=0.5), threads=2)  # the CPU time of one thread says nothing about two
    assert not many.measure([Job(1.0)], (1, 3, 8, 8))[0].busy


def images(n=64, size=16):
    return torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8)


def quick(**options):
    return Meter("cpu", rounds=4, max_rounds=4, spread_s=0.1, **options)


@pytest.mark.parametrize("runtime", [None, "eager"])
def test_real_nets_side_by_side(runtime):
    big = Architecture(Stem(32), (Stage((Block("residual", 32),) * 6),), Head(), 32, 5)
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    module(torch.zeros(1, 1, 9, 9))
    with quick(runtime=runtime) as meter:
        before = torch.get_rng_state()
        small, large, own = meter.measure([STATIC, big, module], input_shape=(1, 1, 9, 9))
        assert torch.equal(torch.get_rng_state(), before)
    assert own.latency_ms < large.latency_ms and small.latency_ms * 2 < large.latency_ms
    for row in (small, large, own):
        assert 0 < row.low_ms < row.latency_ms < row.high_ms < 1000
        assert 16 <= row.n <= 160 and row.n % 4 == 0  # four rounds of four to forty calls
        assert 0 <= row.parity < 1e-4 and row.least_ms > 0 and row.process == ("caller" if runtime else "own")
        assert (row.runtime, row.threads, row.batch, row.precision) == (
            runtime or "onnxruntime",
            1,
            1,
            "fp32",
        )
        assert row.keep_rate is None and row.stopped in ("4 rounds", "within 1 %") and row.machine.startswith("m")


def _biased(net, keep):
    for gate in net.gates.values():
        nn.init.zeros_(gate.core.decision.weight)
        nn.init.constant_(gate.core.decision.bias, 5.0 if keep else -5.0)
    return net.eval()


@pytest.mark.parametrize("runtime", ["onnxruntime", "eager"])
def test_a_gated_net_is_the_mean_over_images_with_its_keep_rate(runtime):
    from searchspace import build

    deep = Architecture(
        Stem(32),
        (Stage((Block("residual", 32), *[Block("residual", 32, gate="rnn")] * 6)),),
        Head(),
        16,
        5,
        gate_sharing="shared",
        skip_alpha=0.1,
    )
    with quick(runtime=runtime) as meter:
        kept, skipped = meter.measure([_biased(build(deep), True), _biased(build(deep), False)], images=images(64, 20))
    assert (kept.keep_rate, skipped.keep_rate) == (1.0, 0.0)
    assert kept.n == skipped.n == 64 * 4
    assert skipped.latency_ms < 0.8 * kept.latency_ms
    assert skipped.low_ms < skipped.latency_ms < skipped.high_ms


def test_bad_nets_are_named_each_with_its_reason():
    class Spectral(nn.Module):
        def forward(self, x):
            return torch.linalg.svdvals(x.mean(1))

    from searchspace import build

    broken = build(STATIC).eval()
    with torch.no_grad():
        broken.head.classifier.classes.weight.fill_(float("nan"))
    with quick() as meter, pytest.raises(MeasureError) as error:
        meter.measure([STATIC, Spectral(), broken, GATED, "alexnet"], input_shape=(1, 3, 8, 8), images=images(2))
    assert sorted(error.value.bad) == [1, 2, 3, 4]
    assert "Spectral" in error.value.bad[1] and "svd" in error.value.bad[1]
    assert STATIC.id in error.value.bad[2] and "not finite" in error.value.bad[2]
    assert GATED.id in error.value.bad[3] and "images" in error.value.bad[3]
    assert "alexnet" in error.value.bad[4]
    assert "\n" not in str(error.value) and all(why in str(error.value) for why in error.value.bad.values())


def test_too_few_images_and_modules_without_a_shape():
    with quick() as meter:
        with pytest.raises(MeasureError, match="at least 64, not 63"):
            meter.measure([GATED], images=images(63))
        with pytest.raises(MeasureError, match="give input_shape"):
            meter.measure([nn.Conv2d(3, 3, 1)])
        with pytest.raises(ValueError, match="max_ms"):
            meter.measure([STATIC], max_ms=0)
        assert meter.measure([]) == []
        (on_noise,) = meter.measure([GATED])  # the contract's plain call: decisions on noise, which the docstring says
        assert 0 <= on_noise.keep_rate <= 1 and on_noise.n >= 256


def test_a_batch_is_one_call():
    with quick(batch=8) as meter, quick() as single:
        (eight,), (one,) = meter.measure([STATIC]), single.measure([STATIC])
    assert eight.batch == 8 and eight.latency_ms > 2 * one.latency_ms


def test_what_is_not_there_is_said_at_once():
    for device, runtime, said in (
        ("cpu", "tensorflow", "onnxruntime"),
        ("tpu", None, "cpu, cuda"),
        ("cpu", "cuda_graph", "cuda_graph"),
    ):
        with pytest.raises(RuntimeUnavailable, match=said):
            Meter(device, runtime)
    with pytest.raises(ValueError, match="threads"):
        Meter(threads=0)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_no_cuda_is_one_line_with_the_cure():
    with pytest.raises(RuntimeUnavailable, match="no CUDA device here: use the cpu"):
        Meter("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("runtime", ["cuda_graph", "eager"])
def test_cuda(runtime):
    with Meter("cuda", runtime, rounds=4, max_rounds=4, spread_s=0.1) as meter:
        (row,) = meter.measure([STATIC])
    assert 0 < row.low_ms < row.latency_ms < row.high_ms and row.runtime == runtime
