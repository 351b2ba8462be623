"""SkipNet's two stages (Wang et al., ECCV 2018, arXiv:1711.09485, section 3.2 and Algorithm 1), and the control without a policy.

    StraightThrough   "SP", supervised pre-training: hard decisions forward, the gradient of the soft ones backward (G_relax),
                      cross-entropy alone. Nothing asks a gate to close.
    Hybrid            "HRL", hybrid reinforcement learning: decisions are drawn; cross-entropy through what was drawn trains the
                      net, REINFORCE trains the gates (and, as in the original, through their inputs the net, too).
    RandomSkips       no policy: every gate is a coin of a fixed keep rate, in training and when judged (the paper's "SDV").

The return of gate i, to be maximised (eq. 6, with the reward to go):

    r_i = -[beta L - (skip_alpha / N) sum_{j >= i} R_j],   R_j = (1 - g_j) C_j

Its own reward alone (j = i) would be biased: gate i also decides what later gates see. Earlier rewards (j < i) do not depend
on g_i and only add variance. tests/trainers/test_skipnet.py holds the estimator against the exact gradient.

Training runs masked (every block on the whole batch), so that batch statistics stay those of the paper.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from searchspace.network import Network
from trainers.objectives import Objective

REDUCTIONS = ("sum", "mean")
BASELINES = ("none", "batch")


@dataclass(frozen=True)
class Policy:
    """How rewards weigh. The defaults are the original's on CIFAR-10, read in its code.

    costs: C_i, one a gate, of mean 1; beta: weight of the cross-entropy in the return (1, or skip_alpha / N on ImageNet);
    weight: of the policy part beside the supervised one; reduction: of the policy part over the batch. Trap: the original sums
    on CIFAR (its `.reinforce` had no 1/N), so its .01 weighs as 1.28 at batch 128 and 0.32 at 32; on ImageNet it takes the mean.
    baseline: "none" as the original: every return is negative, so whatever was drawn becomes less likely, more so where the loss
    is high; right on average, but noisy, and short trainings drift. "batch": less the mean return of the other images of the
    batch at the same gate, which has the same expectation and far less variance.
    """

    skip_alpha: float
    costs: tuple[float, ...]
    beta: float = 1.0
    weight: float = 0.01
    reduction: str = "sum"
    baseline: str = "none"

    def __post_init__(self) -> None:
        for value, key, known in ((self.reduction, "reduction", REDUCTIONS), (self.baseline, "baseline", BASELINES)):
            if value not in known:
                raise ValueError(f"{key}={value!r} is not one of {', '.join(known)}")


def returns(loss: Tensor, kept: Tensor, policy: Policy) -> Tensor:
    """loss: (N,) cross-entropy of each image, kept: (N, gates) 0 or 1 -> (N, gates), what each decision earned. No gradient:
    a reward is a number."""
    rewards = (1 - kept) * kept.new_tensor(policy.costs)
    to_go = rewards.flip(1).cumsum(1).flip(1)
    earned = -(policy.beta * loss[:, None] - policy.skip_alpha / kept.shape[1] * to_go)
    return earned.detach()


def policy_loss(p: Tensor, kept: Tensor, loss: Tensor, policy: Policy) -> Tensor:
    """The surrogate whose gradient is REINFORCE's (Williams 1992): - sum_i r_i log pi(g_i), before `weight`.

    p: (N, gates) probability to keep, with gradient; kept: (N, gates) what was drawn; loss: (N,)."""
    earned = returns(loss, kept, policy)
    if policy.baseline == "batch" and len(earned) > 1:
        earned = earned - (earned.sum(0) - earned) / (len(earned) - 1)  # of the others: it must not depend on what it judges
    drawn = torch.where(kept > 0.5, p, 1 - p).clamp_min(1e-8)
    each = -(earned * drawn.log()).sum(1)
    return each.sum() if policy.reduction == "sum" else each.mean()


class StraightThrough(Objective):
    """The first stage: cross-entropy through hard decisions, soft gradients."""

    name = "sp"

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, label_smoothing: float) -> Tensor:
        return F.cross_entropy(net(x), y, label_smoothing=label_smoothing)

    def told(self) -> dict[str, Any]:
        return {"stage": self.name}


class Hybrid(Objective):
    """The second stage: supervised through what was drawn, and the policy's part."""

    name = "hrl"

    def __init__(self, policy: Policy, gate_lr: float = 1.0):
        self.policy, self.gate_lr = policy, gate_lr

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, label_smoothing: float) -> Tensor:
        logits, kept, p = cast(Network, net).sampled(x)
        supervised = F.cross_entropy(logits, y, label_smoothing=label_smoothing)
        loss = F.cross_entropy(logits, y, reduction="none")  # the return is of the loss itself, not smoothed
        return supervised + self.policy.weight * policy_loss(p, kept, loss, self.policy)

    def told(self) -> dict[str, Any]:
        return {"stage": self.name, "hrl.gate_lr": self.gate_lr, **{f"hrl.{k}": v for k, v in asdict(self.policy).items()}}


class RandomSkips(Objective):
    """Gate i keeps its block with rate keep[i], whatever the image; the gates themselves are neither run nor trained."""

    name = "random"

    def __init__(self, keep: tuple[float, ...]):
        self.keep = keep
        self.generator = torch.Generator()
        self.begin()

    def begin(self) -> None:
        self.generator.manual_seed(0)

    def _drawn(self, n: int, generator: torch.Generator | None) -> Tensor:
        return torch.rand(n, len(self.keep), generator=generator) < torch.tensor(self.keep)

    def loss(self, net: nn.Module, x: Tensor, y: Tensor, label_smoothing: float) -> Tensor:
        logits, _ = cast(Network, net).masked(x, force=self._drawn(len(x), None).to(x.device))
        return F.cross_entropy(logits, y, label_smoothing=label_smoothing)

    def run(self, net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        return cast(Network, net).run(x, force=self._drawn(len(x), self.generator).to(x.device))

    def told(self) -> dict[str, Any]:
        return {"stage": self.name, "keep": list(self.keep)}
