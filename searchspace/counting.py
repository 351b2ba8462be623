"""How many distinct nets a space holds: exact, without walking through them. Standard library only.

Per skeleton, distinct width set and resolution, the stages multiply, but for two choices of the whole net: `skip_alpha`
exists where there is a gate, and the sharing of gates where two gates could be one module. So the stages are passed once
with a small state: which gates stand so far, as far as a later gate could share with them.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from searchspace.architecture import FAMILIES, Block, can_share
from searchspace.skeletons import SKELETONS

if TYPE_CHECKING:
    from searchspace.space import SearchSpace

Keys = frozenset[tuple[str, int]]
State = tuple[bool, bool, Keys]  # any gate yet, two gates that could be one, gates that a later one could share with


def count_nets(space: SearchSpace) -> int:
    """Distinct nets of the space."""
    total = 0
    for name in space.skeletons:
        skeleton = SKELETONS[name]
        # two multipliers that round to the same widths make the same nets
        alphas = {skeleton.widths(alpha): alpha for alpha in space.alphas}
        for alpha in alphas.values():
            for resolution in space.resolutions:
                total += len(space.activations) * _frame_nets(space, *space.frame(skeleton, alpha, resolution))
    return total


def _frame_nets(space: SearchSpace, stem: int, widths: tuple[int, ...], head: int, strides: list[int]) -> int:
    states: Counter[State] = Counter({(False, False, frozenset()): 1})
    channels = stem
    for i, width in enumerate(widths):
        options = _stage_options(space, i == 0, channels, width, strides[i + 1])
        later = set(widths[i:])  # the widths that gates of later stages will read
        following: Counter[State] = Counter()
        for (gated, shares, keys), ways in states.items():
            for gates, more in options.items():
                both = (*keys, *gates)
                shares_now = shares or can_share(both)
                left = frozenset(k for k in ((d, 0 if d == "rnn" else c) for d, c in both) if k[0] == "rnn" or k[1] in later)
                following[(gated or bool(gates), shares_now, frozenset() if shares_now else left)] += ways * more
        states, channels = following, width
    nets = 0
    for (gated, shares, _), ways in states.items():
        nets += ways * (len(space.skip_alphas) if gated else 1) * (len(space.sharings) if shares else 1)
    return nets


def _stage_options(
    space: SearchSpace, first: bool, channels: int, width: int, stride: int
) -> Counter[tuple[tuple[str, int], ...]]:
    """Gates of a stage as (design, channels in) -> number of ways to have just these."""
    options: Counter[tuple[tuple[str, int], ...]] = Counter()
    for family in space.families:
        expands = FAMILIES[family].expands
        hidden = {max(1, e) for e in space.expansions} if expands else {0}
        ways = len(space.kernels) * len(hidden) * len(space.squeeze_excite)
        for depth in space.depths:
            skips = [
                w for j, w in enumerate([channels] + [width] * (depth - 1))
                if Block(family, width, stride if j == 0 else 1, hidden=int(expands)).has_shortcut(w) and not (first and j == 0)
            ]  # fmt: skip
            for gate in space.gates if skips else ("none",):
                options[() if gate == "none" else tuple((gate, w) for w in skips)] += ways
    return options
