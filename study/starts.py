"""The first nets of a search: anchors with one to three choices changed.

A space of 10^21 nets is mostly poor nets, and a budget of tens of trials has none to spend on learning that; "how do I
improve the net I already have" begins at that net. A model-based sampler learns from these as from its own proposals, and
the random control does without.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from searchspace.architecture import Architecture
from searchspace.neighbourhood import edited
from searchspace.space import SearchSpace

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
