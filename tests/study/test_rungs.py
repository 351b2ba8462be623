"""Who goes on: small cases whose answer is known, and the worlds of any size that they must hold in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.pareto import dominates
from study.rungs import Plan, going_on, order, plan_of, ranks

#   accuracy
#    90          d(2)      a, c, d: the front; b is behind a, e behind all of them
#    80     c(1)
#    70  a(.5)    b(1.5)
#    60                e(3)
NETS = {0: (70.0, 0.5), 1: (70.0, 1.5), 2: (80.0, 1.0), 3: (90.0, 2.0), 4: (60.0, 3.0)}


def test_ranks_and_order():
    top1, cost = (np.array([NETS[n][i] for n in NETS]) for i in (0, 1))
    assert ranks(top1, cost).tolist() == [0, 1, 0, 0, 2]
    # reference (57, 3.25): d alone adds 10 x 1.25 = 12.5, c 10 x 1.0 = 10, a 13 x .5 = 6.5
    assert order(top1, cost) == [3, 2, 0, 1, 4]
    assert order([], []) == [] and order([50.0], [1.0]) == [0]
    assert order([50.0, np.nan, 50.0], [1.0, 0.1, 1.0]) == [0, 2, 1], "equals: the first; not a number: behind all"


def test_the_best_share_goes_on_and_nobody_twice():
    assert going_on(NETS, (), 2) == [3, 2] and going_on(NETS, {3}, 2) == [2] and going_on(NETS, {3, 2}, 2) == []
    assert going_on(NETS, (), 5) == [3] and going_on(NETS, (), 6) == []
    assert going_on(NETS, (), 6, last=True) == [3], "one goes on when nobody else will come"
    assert going_on(NETS, (), 2, refused={3}) == [2, 0], "a net over the budget counts in the rung and never goes on"
    assert going_on({}, (), 3, last=True) == []
    # ASHA: who was promoted early keeps its place, and a better one that comes later goes on, too
    assert going_on({**NETS, 9: (99.0, 0.1)}, {3, 2}, 3) == [9]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30), st.sampled_from([1.5, 2, 3, 4]))
def test_nobody_goes_on_before_one_that_is_better_in_both(points, eta):
    nets = {i: (float(a), float(c)) for i, (a, c) in enumerate(points)}
    chosen = going_on(nets, (), eta)
    assert len(chosen) == int(len(nets) / eta) == len(set(chosen))
    for n in chosen:
        assert not any(dominates(nets[m], nets[n]) for m in nets if m not in chosen)


HALVING = {"eta": 3, "rungs": None, "sample": 0, "seeds": 2}


def test_rungs_from_the_keys():
    assert plan_of(HALVING, 9)["rungs"] == [1, 3, 9] and plan_of(HALVING, 12)["rungs"] == [1, 4, 12]
    assert plan_of({**HALVING, "rungs": [2]}, 9)["rungs"] == plan_of({**HALVING, "rungs": [2, 9]}, 9)["rungs"] == [2, 9]
    assert plan_of({**HALVING, "eta": None}, 9) is None
    assert Plan(3.0, (1, 3, 9), 0, 1).expected_epochs() == pytest.approx(1 + 2 / 3 + 6 / 9)


@pytest.mark.parametrize(
    ("changed", "epochs", "message"),
    [
        ({"eta": 1.0}, 9, "halving.eta=1: must be above 1"),
        ({}, 2, "halving.eta=3: epochs=2 leaves no rung below it; use epochs=9"),
        ({"rungs": [3, 2]}, 9, "halving.rungs=[3, 2]: must be numbers of epochs that grow"),
        ({"rungs": [0]}, 9, "halving.rungs=[0]"),
        ({"rungs": [9]}, 9, "halving.rungs="),
        ({"rungs": [12]}, 9, "to below epochs=9"),
        ({"sample": -1}, 9, "halving.sample=-1: must be at least 0"),
        ({"seeds": 0}, 9, "halving.seeds=0: must be at least 1"),
        ({"eta": None, "rungs": [1]}, 9, "halving.rungs: means nothing without halving.eta"),
    ],
)
def test_what_cannot_be_is_one_line(changed, epochs, message):
    with pytest.raises(ValueError) as refused:
        plan_of({**HALVING, **changed}, epochs)
    assert message in str(refused.value) and "\n" not in str(refused.value)
