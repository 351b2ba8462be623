"""The first nets of a search: anchors with one to three choices changed.

A space of 10^21 nets is mostly poor nets, and a budget of tens of trials has none to spend on learning that; "how do I
improve the net I already have" begins at that net. A model-based sampler learns from these as from its own proposals, and
the random control does without.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import optuna
from optuna.trial import TrialState

from searchspace.architecture import Architecture
from searchspace.neighbourhood import edited
from searchspace.space import SearchSpace
from study.storing.storage import is_row

STARTS = 8
EDITS = (1, 2, 3)  # choices changed, each as likely


def starts(space: SearchSpace, anchors: Sequence[Architecture], n: int, rng: random.Random) -> list[Architecture]:
    """`n` distinct points of the space near the anchors in turn, none of them an anchor; fewer where there are no more.
    `anchors`: points of the space."""
    found: dict[Architecture, None] = {}
    for i in range(20 * n if anchors else 0):
        if len(found) == n:
            break
        net = anchors[i % len(anchors)]
        for _ in range(rng.choice(EDITS)):
            net = edited(space, net, rng)
        if net not in anchors:
            found[net] = None
    return list(found)


def drawn(space: SearchSpace, n: int, rng: random.Random) -> list[Architecture]:
    """`n` nets of the space, each choice uniform (a net may come twice)."""
    return [space.walk(lambda name, choices: rng.choice(choices)) for _ in range(n)]


def head_start(control: optuna.Study, study: optuna.Study) -> None:
    """A control that searches by mult-adds differs from the search in that alone: it knows the anchors (as hidden copies, which
    are no rows of it) and begins with the same nets."""
    if "starts" in control.user_attrs:
        return
    trials = [t for t in study.get_trials(deepcopy=False) if is_row(t)]
    begun = [t for t in trials if "fixed_params" in t.system_attrs and t.user_attrs.get("origin") == "search"]
    begun = [t for t in begun if "edit_of" not in t.user_attrs and "retry_of" not in t.user_attrs]
    control.set_user_attr("starts", len(begun))
    for t in trials:
        attrs = t.user_attrs
        if attrs.get("origin") == "anchor" and t.state == TrialState.COMPLETE and t.params and "architecture" in attrs:
            kept = {k: attrs[k] for k in ("id", "architecture", "latency_ms", "macs_m", "top1_val")}
            control.add_trial(optuna.trial.create_trial(
                params=t.params, distributions=t.distributions, values=[attrs["top1_val"], attrs["macs_m"]],
                constraints=t.constraints,
                user_attrs={**kept, "duplicate_of": t.number, "copied": True},
            ))  # fmt: skip
    for t in begun:
        attrs = {"origin": "control", "architecture": t.user_attrs["architecture"]}
        control.enqueue_trial(t.system_attrs["fixed_params"], user_attrs=attrs)
