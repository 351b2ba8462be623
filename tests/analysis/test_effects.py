"""Effects and verdicts against data whose answer is known."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from conftest import Faker
from scipy import stats

from analysis.effects import SAME, accuracy_half, bought, compare, judge_accuracy, judge_latency, main_effects, seed_spread
from analysis.front import nets
from analysis.records import Record
from searchspace.architecture import Architecture
from searchspace.edits import edits


def planted(finished: Faker, n: int = 120) -> Record:
    """`width` moves accuracy by +-2 and latency by a factor of 2 each way; `noise` does nothing; `once` has a level a net."""
    rng = np.random.default_rng(5)
    width, nothing = rng.choice([1, 2], n), rng.choice(["a", "b", "c", "d"], n)
    trials = pd.DataFrame(
        {
            "state": "COMPLETE",
            "origin": "search",
            "top1_val": 80 + 4.0 * (width == 2) + rng.normal(0, 1, n),
            "latency_ms": np.exp(math.log(4) * (width == 2) + rng.normal(0, 0.1, n)),
            "noise": nothing,
            "width": width,
            "once": range(n),
        }
    )
    return dataclasses.replace(finished.read(), trials=trials, choices=("once", "noise", "width"))


def test_planted_effects_are_found_and_nothing_is_not(finished: Faker) -> None:
    record = planted(finished)
    table = main_effects(record)
    assert table["choice"].iloc[0] == "width"  # neither four levels nor 120 win by chance
    wide = table[(table["choice"] == "width") & (table["level"] == 2)].iloc[0]
    share = 1 - wide["n"] / 120
    assert wide["top1"] == pytest.approx(4.0 * share, abs=3 * wide["top1_half"]) and abs(wide["top1"]) > wide["top1_half"]
    assert math.exp(wide["latency"] / share) == pytest.approx(4.0, rel=0.1)
    idle = table[table["choice"] == "noise"]
    assert (idle["top1"].abs() < 1.5).all() and idle["n"].sum() == 120
    assert table.loc[table["choice"] == "once", "top1_half"].isna().all()


def test_the_interval_is_welchs(finished: Faker) -> None:
    record = planted(finished)
    table = main_effects(record)
    row = table[(table["choice"] == "width") & (table["level"] == 1)].iloc[0]
    inside = record.trials.loc[record.trials["width"] == 1, "top1_val"]
    rest = record.trials.loc[record.trials["width"] == 2, "top1_val"]
    theirs = stats.ttest_ind(inside, rest, equal_var=False).confidence_interval()
    share = len(rest) / 120
    assert row["top1"] - row["top1_half"] == pytest.approx(share * theirs.low)
    assert row["top1"] + row["top1_half"] == pytest.approx(share * theirs.high)


def test_one_seed_leaves_the_binomial(make) -> None:
    faker = make("searched")
    faker.finalists(seeds=1)
    record = faker.read()
    net = record.finalists.iloc[0]
    assert seed_spread(record)[1] == 0
    p = net["top1_test"] / 100
    assert accuracy_half(record, net) == pytest.approx(196 * math.sqrt(p * (1 - p) / 10000), rel=1e-3)
    assert accuracy_half(record, net, net) == pytest.approx(accuracy_half(record, net) * 2**0.5)


def test_seeds_widen_the_interval_by_their_pooled_spread(finished: Faker) -> None:
    record = finished.read()
    spread, freedom = seed_spread(record)
    assert freedom == len(record.finalists)  # two seeds each
    assert spread == pytest.approx(math.sqrt((record.finalists["top1_test_sd"] ** 2).mean()))
    net = record.finalists.iloc[0]
    p = (net["top1_test"] * 100 + 1) / 10002
    expected = math.hypot(196 * math.sqrt(p * (1 - p) / 10000), stats.t.ppf(0.975, freedom) * spread / 2**0.5)
    assert accuracy_half(record, net) == pytest.approx(expected)


def test_unknown_noise_is_not_judged(finished: Faker) -> None:
    record = dataclasses.replace(finished.read(), val_n=None)
    net = record.finalists.iloc[0]
    assert math.isnan(accuracy_half(record, net, on="val"))
    assert judge_accuracy(1.0, math.nan) == "not judged"


@pytest.mark.parametrize(("difference", "verdict"), [(1.2, "better"), (1.0, SAME), (0.0, SAME), (-0.9, SAME), (-1.1, "worse")])
def test_accuracy_verdicts(difference: float, verdict: str) -> None:
    assert judge_accuracy(difference, 1.0) == verdict


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.7, 0.9, "faster"), (0.8, 1.0, SAME), (0.9, 1.5, SAME), (1.2, 1.3, "slower"), (math.nan, 1.0, "not judged")],
)
def test_latency_verdicts(low: float, high: float, verdict: str) -> None:
    anchor = pd.Series({"latency_low_ms": 1.0, "latency_high_ms": 1.1})
    assert judge_latency(pd.Series({"latency_low_ms": low, "latency_high_ms": high}), anchor) == verdict


def test_bought_names_the_nearest_anchor_and_its_edits(make) -> None:
    faker = make("anchors", n_trials=1)
    net = Architecture.from_dict(
        faker.read().architectures[next(i for i, (_, _, n) in faker.nets.items() if n == "mobilenet_v1-0.25")]
    )
    kin = dataclasses.replace(net, stem=dataclasses.replace(net.stem, out=16))
    faker.trial(kin, "search", top1_val=50.0, latency_ms=0.9, latency_low_ms=0.89, latency_high_ms=0.91)
    faker.finalists(n=1)
    record = faker.read()
    deal = bought(record, kin.id)
    assert deal is not None and deal.anchor == "mobilenet_v1-0.25" and deal.distance == 1
    assert deal.edits == tuple(edits(net, kin)) == ("stem width: 8 → 16",)
    table = record.finalists.set_index("id")
    assert deal.test == pytest.approx(table.loc[kin.id, "top1_test"] - table.loc[net.id, "top1_test"])
    assert deal.latency_ratio == pytest.approx(table.loc[kin.id, "latency_ms"] / table.loc[net.id, "latency_ms"])


def test_on_validation_nothing_is_called_real(make) -> None:
    record = make("searching").read()
    table = nets(record)
    verdicts = {compare(record, a, b)["accuracy_verdict"] for _, a in table.iterrows() for _, b in table.iterrows()}
    assert verdicts == {SAME, "not judged"}


def test_without_anchors_nothing_was_bought(make) -> None:
    faker = make("empty")
    faker.search(24)
    record = faker.read()
    assert bought(record, nets(record).iloc[0]["id"]) is None
