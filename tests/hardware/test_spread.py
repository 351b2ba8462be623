"""The spread over images: by hand, in a world whose clock is made up and where each image's cost is known, and for real with a
net whose decisions are known."""

import json
import math
import random
from contextlib import contextmanager
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

import hardware.session
from hardware import Meter
from hardware.rounds import Candidate
from hardware.runtimes import RUNTIMES, Runtime
from hardware.spread import levels_ms, spread_of
from searchspace import build
from searchspace.architecture import Architecture, Block, Head, Stage, Stem
from tests.hardware.noise import bursts, drift, jitter

GATES = 4
BLOCK_MS = (0.10, 0.08, 0.05, 0.02)  # what each gated block costs
PATTERNS = {0b0000: 0.30, 0b0001: 0.25, 0b0011: 0.25, 0b0110: 0.12, 0b1111: 0.08}  # bit j: block j is kept -> share of images


def test_by_hand():
    decided, two = ["00", "10", "01", "10"], [[1.0, 2.0, 4.0, 4.0], [1.0, 2.0, 1.0, 1.0]]
    spread = spread_of(decided, two, latency_ms=20.0)
    # geometric means of the two processes: 1, 2, 2, 2; then scaled from a mean of 7/4 to 20
    assert spread.mean_ms == pytest.approx(20.0) and spread.executed == (1, 3, 0) and (spread.images, spread.gates) == (4, 2)
    assert spread.ms_by_executed == (pytest.approx(80 / 7), pytest.approx(160 / 7), None)
    alike = spread_of(decided, [[1.0, 2.0, 6.0, 4.0]], latency_ms=3.25)  # images 1 and 3 decide alike: 3 ms each
    assert alike.p50_ms == pytest.approx(3.0) and alike.ms_by_executed[1] == pytest.approx(4.0)
    assert alike.p95_ms == pytest.approx(np.quantile([1.0, 3.0, 6.0, 3.0], 0.95)) and alike.mean_ms == pytest.approx(3.25)
    assert json.loads(json.dumps(spread.to_dict())) == spread.to_dict()
    assert levels_ms([[2.0, 2.0], [1.0, 1.01]]) == [pytest.approx(2.0), pytest.approx(math.sqrt(1.01))]


class World:
    """Seconds pass only when a net runs or somebody sleeps. noise(now, draw) -> factor >= 1 of a call's time."""

    def __init__(self, noise, seed=0):
        self.now, self.noise, self.draw, self.calls = 100.0, noise, random.Random(seed), []

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds

    def run(self, ms, image=None):
        self.calls.append(image)
        self.now += ms / 1e3 * self.noise(self.now, self.draw)


class Gated(nn.Module):
    """Decides by the first pixel, whose bits are the decisions; the second names the image."""

    def __init__(self):
        super().__init__()
        self.gates = nn.ModuleDict({str(i): nn.Identity() for i in range(GATES)})
        self.stem = self.blocks = self.head = nn.Identity()

    def run(self, x):
        pixels = (x[:, 0, 0, 0] * 64 + 127.5).round().int()
        return torch.ones(len(x), 2), torch.stack([(pixels >> j) & 1 for j in range(GATES)], 1) > 0


@pytest.fixture
def meter_in(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # an invented clock is no history of this machine

    def make(world, base_ms=0.2, **options):
        class Fake(Runtime):
            name = "fake"

            def _prepare(self, module, shape, mean, std, images):
                self.gated = isinstance(module, Gated)  # the references are not

            def load(self, pixels):
                return pixels

            def run(self, x):
                bits = [(int(x[0, 0, 0, 0]) >> j) & 1 for j in range(GATES)]
                ms = base_ms + sum(ms for ms, bit in zip(BLOCK_MS, bits, strict=True) if bit)
                world.run(ms if self.gated else 0.2, int(x[0, 0, 0, 1]) if self.gated else None)
                return np.ones((1, 2)), np.array([bits], float) if self.gated else None

            def read(self, out):
                return out

            @classmethod
            def version(cls):
                return "fake 1"

        monkeypatch.setitem(RUNTIMES, "fake", lambda: Fake)
        return Meter("cpu", "fake", clock=world.clock, cpu_clock=world.clock, sleep=world.sleep, **options)

    return make


def pictures(n=256, seed=1):
    """(n, 1, 4, 4) and the true ms of each but for the base."""
    bits = np.random.default_rng(seed).choice(list(PATTERNS), size=n, p=list(PATTERNS.values()))
    images = np.zeros((n, 1, 4, 4), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = bits, np.arange(n)
    return images, np.array([sum(ms for j, ms in enumerate(BLOCK_MS) if (b >> j) & 1) for b in bits]), bits


@pytest.mark.parametrize("noise", [jitter, drift, bursts])
def test_mean_percentiles_and_histogram_are_found_under_noise(meter_in, noise):
    images, blocks_ms, bits = pictures()
    true = 0.2 + blocks_ms
    kept = np.array([int(b).bit_count() for b in bits])
    worst_plain = 0.0
    for seed in range(3):
        world = World(noise, seed)
        (row,) = meter_in(world).measure([Gated()], (1, 1, 4, 4), images=images)
        spread = row.spread
        assert spread.executed == tuple(int((kept == k).sum()) for k in range(GATES + 1)) and spread.images == 256
        assert spread.mean_ms == pytest.approx(row.latency_ms) and row.latency_ms == pytest.approx(true.mean(), rel=0.04)
        assert spread.p50_ms / spread.mean_ms == pytest.approx(np.median(true) / true.mean(), rel=0.02)
        assert spread.p95_ms / spread.mean_ms == pytest.approx(np.quantile(true, 0.95) / true.mean(), rel=0.02)
        for k, ms in enumerate(spread.ms_by_executed):
            assert (ms is None) == (k == 3)  # no pattern has three
            assert ms is None or ms / spread.mean_ms == pytest.approx(true[kept == k].mean() / true.mean(), rel=0.02)
        once = true * [noise(100 + i * 3e-3, world.draw) for i in range(256)]  # each image once: the plain way
        worst_plain = max(worst_plain, abs(once.mean() / true.mean() - 1), np.quantile(once, 0.95) / np.quantile(true, 0.95) - 1)
    assert worst_plain > 0.045


def test_images_are_called_in_another_order_every_round_and_slices_stay_short(meter_in, monkeypatch):
    world, held = World(lambda now, draw: 1.0), []

    @contextmanager
    def exclusive(device):
        began = world.now
        yield
        held.append(world.now - began)

    monkeypatch.setattr(hardware.session, "exclusive", exclusive)
    images, blocks_ms, _ = pictures()
    (row,) = meter_in(world, base_ms=5.0).measure([Gated()], (1, 1, 4, 4), images=images)
    assert row.spread.mean_ms == pytest.approx(5 + blocks_ms.mean(), rel=1e-3) and row.n == 6 * 256
    assert max(held) < 0.16  # where a round takes 1.3 s
    calls = [i for i in world.calls if i is not None][256 + 1 :]  # prepared: one an image, one that is timed
    at_once = int(50 / (5 + blocks_ms[0]))
    whole = 256 + math.ceil(256 / at_once)  # one call a visit is not recorded
    rounds = [calls[i : i + whole] for i in range(0, len(calls), whole)]
    assert len(rounds) == 6 and all(set(r) == set(range(256)) and len(r) == whole for r in rounds)
    assert len({tuple(r) for r in rounds}) == 6


def test_parts_hold_every_input_once():
    candidate = Candidate(None, list("abcdefghij"), keep_rate=0.5, at_once=4)
    parts = candidate.parts(random.Random(0))
    assert [len(p) for p in parts] == [4, 4, 2] and sorted(i for p in parts for i in p) == list(range(10))
    assert [list(p) for p in Candidate(None, ["a"]).parts(random.Random(0))] == [[0]]


DEEP = Architecture(
    Stem(32), (Stage((Block("residual", 32), *[Block("residual", 32, gate="ff2")] * 6)),), Head(), 16, 5,
    gate_sharing="per_block", skip_alpha=0.1,
)  # fmt: skip


def decided_by_brightness():
    """A net that keeps all gated blocks of a bright image and none of a dark one."""
    torch.manual_seed(0)
    net = build(DEEP).eval()
    pair = (torch.tensor([20.0, 235.0]).view(2, 1, 1, 1).expand(2, 3, 16, 16) - 127.5) / 64
    with torch.no_grad():
        x = net.stem(pair)
        for block, gate in net.steps():
            if gate is None:
                x = block(x)
                continue
            dark, bright = gate.features(x).mean((2, 3))
            across = (bright - dark) / (bright - dark).square().sum()
            gate.decision.weight.copy_(torch.stack([-20 * across, 20 * across]))
            middle = float(20 * across @ (bright + dark) / 2)
            gate.decision.bias.copy_(torch.tensor([middle, -middle]))
            x = torch.cat([block.shortcut(x[:1]), block(x[1:])])
    return net


@pytest.mark.parametrize("runtime", ["onnxruntime", "eager", "openvino"])
def test_a_real_net_whose_decisions_are_known(runtime):
    if find_spec(runtime) is None and runtime == "openvino":
        pytest.skip("needs the extra openvino")
    images = np.full((256, 3, 16, 16), 20, np.uint8)
    images[::4] = 235
    with Meter("cpu", runtime, rounds=6, max_rounds=6, spread_s=0.1) as meter:
        (row,) = meter.measure([decided_by_brightness()], images=images)
        spread = row.spread
        assert row.process == "own" and spread.executed == (192, 0, 0, 0, 0, 0, 64) and row.keep_rate == 0.25
        dark, bright = spread.ms_by_executed[0], spread.ms_by_executed[6]
        assert dark < 0.8 * bright and spread.ms_by_executed[1:6] == (None,) * 5
        assert (spread.p50_ms, spread.p95_ms) == (pytest.approx(dark), pytest.approx(bright))
        assert spread.mean_ms == pytest.approx(row.latency_ms) == pytest.approx(0.75 * dark + 0.25 * bright)
        if runtime == "onnxruntime":
            (row,) = meter.measure([decided_by_brightness()], images=images, processes=2)
            assert row.spread.executed == spread.executed and row.spread.mean_ms == pytest.approx(row.latency_ms)


def test_none_of_a_static_net_nor_of_several_images_a_call():
    with Meter("cpu", "eager", batch=2, rounds=2, max_rounds=2, spread_s=0) as meter:
        gated, static = meter.measure([decided_by_brightness(), DEEP.without_gates()])
    assert gated.keep_rate is not None and gated.spread is None and static.spread is None
