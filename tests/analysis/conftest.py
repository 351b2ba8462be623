"""A made-up study in the storage layout that study/ writes. The nets are real points of the space, the numbers follow a
simple law (wider is more accurate and slower) with seeded noise; nothing is trained or timed."""

from __future__ import annotations

import functools
import math
import random
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from analysis.records import Record, read
from searchspace.anchors import anchor
from searchspace.architecture import Architecture
from searchspace.space import SearchSpace

ANCHORS = ("mobilenet_v1-0.25", "mobilenet_v2-0.5", "skipnet_20-rnn")
STATE = optuna.trial.TrialState
SPACE = SearchSpace(classes=10, in_channels=1, resolutions=(28,), depths=(1, 2, 3))


def settings(name: str, **changed) -> dict:
    return {
        "name": name,
        "seed": 0,
        "n_trials": 24,
        "epochs": 3,
        "max_latency_ms": 1.5,
        "data": {"name": "fashion_mnist", "fraction": 0.1},
        "hardware": {"name": "cpu", "runtime": "onnxruntime", "threads": 1, "batch": 1},
        "finalists": {"epochs": 12, "seeds": 2},
        "sampler": {"name": "tpe"},
        "searchspace": {"name": "mobile"},
        "anchors": list(ANCHORS),
        **changed,
    }


class Faker:
    """Writes trials as study/ does. `lift` adds points of accuracy to every searched net."""

    def __init__(self, folder: Path, name: str = "demo", lift: float = 0.0, **changed):
        folder.mkdir(parents=True, exist_ok=True)
        self.url, self.name, self.lift, self.rng = f"sqlite:///{folder}/study.db", name, lift, random.Random(7)
        self.study = optuna.create_study(study_name=name, storage=self.url, directions=["maximize", "minimize"])
        for key, value in {
            "settings": settings(name, **changed),
            "machine": {"cpu": "AMD EPYC 7B13", "cores": 2, "torch": "2.15.0"},
            "estimate": {"seconds": 240},
            "ended": "",
            "commit": "0123abc",
            "space_size": SPACE.size(),
            "val_n": 1200,
            "command": f"python search.py searchspace=mobile data=fashion_mnist name={name}",
        }.items():
            self.study.set_user_attr(key, value)
        self.nets: dict[str, tuple[Architecture, str, str]] = {}

    def law(self, net: Architecture, origin: str) -> tuple[float, float, float]:
        """(top1_val, latency_ms, macs_m) of a net."""
        size = (
            sum(
                b.out * w * (1 if b.family != "residual" else 9) * (1 + b.hidden / b.out)
                for b, w in zip(net.blocks, net.widths_in)
            )
            / 1e5
        )
        latency = 0.08 + 0.02 * len(net.blocks) + 0.03 * size**0.7
        top1 = 72 + 7 * math.log10(1 + 8 * size) + self.rng.gauss(0, 0.8) + (self.lift if origin == "search" else 0)
        return min(top1, 96.0), latency, 3.0 * size

    def trial(
        self, net: Architecture, origin: str, name: str = "", choices: dict | None = None, state=STATE.COMPLETE, **attrs
    ) -> None:
        top1, latency, macs = self.law(net, origin)
        self.nets.setdefault(net.id, (net, origin, name))
        about = {
            "id": net.id,
            "architecture": net.to_dict(),
            "origin": origin,
            "seed": 0,
            "choices": choices or {},
            "host": "h",
            "pid": 1,
            "latency_ms": latency,
            "latency_low_ms": latency * 0.985,
            "latency_high_ms": latency * 1.03,
            "latency_n": 300,
            "macs_m": macs,
            "params_m": macs / 20,
            **({"net": name} if name else {}),
        }
        if state == STATE.COMPLETE:
            about |= {"top1_val": top1, "epochs": 3, "seconds": 4.0 + macs, **({"keep_rate": 0.7} if net.gates else {})}
        values = [top1, latency] if state == STATE.COMPLETE else None
        self.study.add_trial(optuna.trial.create_trial(state=state, values=values, user_attrs=about | attrs))

    def anchors(self) -> None:
        for name in ANCHORS:
            self.trial(anchor(name, resolution=28, classes=10, in_channels=1), "anchor", name)

    def search(self, n: int) -> None:
        """n trained nets, every tenth net over budget and one failure among them."""
        for i in range(n):
            params: dict = {}

            def draw(name: str, choices: tuple, params=params) -> object:
                params[name] = self.rng.choice(choices)
                return params[name]

            net = SPACE.walk(draw)
            self.trial(net, "search", choices=params)
            if i % 10 == 4:
                wide = SPACE.decode({**params, "alpha": 1.0})
                self.trial(
                    wide, "search", choices=params, state=STATE.PRUNED, reason="3.9 ms is over max_latency_ms=1.5", latency_ms=3.9
                )
        self.trial(net, "search", choices=params, state=STATE.FAIL, reason="loss is NaN at epoch 2", top1_val=None)
        self.trial(net, "search", choices=params, duplicate_of=1)
        self.trial(net, "search", choices=params, withdrawn=True)

    def finalists(self, n: int = 6, seeds: int = 2, measured: bool = True) -> None:
        final = optuna.create_study(study_name=f"{self.name}.finalists", storage=self.url, direction="maximize")
        searched = [net for net, origin, _ in self.nets.values() if origin == "search"]
        quick = sorted(searched, key=lambda net: self.law(net, "search")[1])[:: max(1, len(searched) // n)][:n]
        clock = {}
        for net_id in [*(i for i, v in self.nets.items() if v[1] == "anchor"), *(net.id for net in quick)]:
            net, origin, name = self.nets[net_id]
            top1, latency, _ = self.law(net, origin)
            for seed in range(seeds):
                val = top1 + 4 + self.rng.gauss(0, 0.2)
                about = {
                    "id": net_id,
                    "net": name,
                    "origin": origin,
                    "seed": seed,
                    "architecture": net.to_dict(),
                    "top1_val": val,
                    "top1_test": val - 0.4 + self.rng.gauss(0, 0.2),
                    "test_n": 10000,
                    "epochs": 12,
                    "seconds": 40.0,
                    **({"keep_rate": 0.6 + 0.1 * seed} if net.gates else {}),
                }
                final.add_trial(optuna.trial.create_trial(value=val, user_attrs=about))
            clock[net_id] = {
                "latency_ms": latency,
                "low_ms": latency * 0.99,
                "high_ms": latency * 1.02,
                "n": 500,
                "runtime": "onnxruntime",
                "busy": False,
                "keep_rate": 0.65 if net.gates else None,
            }
        if measured:
            final.set_user_attr("latency", clock)
            final.set_user_attr("parity", dict.fromkeys(clock, 2e-6))

    def read(self) -> Record:
        return read(self.url, self.name)


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Faker]:
    """make(stage="finished", **settings) -> Faker, at the stage empty, anchors, searching, searched, finalists or finished."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def build(stage: str = "finished", lift: float = 2.0, **changed) -> Faker:
        faker = Faker(tmp_path_factory.mktemp("outputs") / "demo", lift=lift, **changed)
        if stage != "empty":
            faker.anchors()
        if stage not in ("empty", "anchors"):
            faker.search(10 if stage == "searching" else faker.study.user_attrs["settings"]["n_trials"])
        if stage in ("finalists", "finished"):
            faker.finalists(measured=stage == "finished")
        return faker

    return build


@pytest.fixture(scope="session")
def at(make: Callable[..., Faker]) -> Callable[[str], Record]:
    """at(stage) -> Record, made once a stage: for tests that only look."""
    return functools.cache(lambda stage: make(stage).read())


@pytest.fixture(scope="session")
def finished(make: Callable[..., Faker]) -> Faker:
    return make("finished")
