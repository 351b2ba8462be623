"""Gates: from the feature map before a block to the probability that the block is executed (SkipNet, arXiv:1711.09485,
section 3.1 and Figure 3).

    state = gate.start(x)                   # x: (N, C, H, W); () for feed-forward gates, (h, c) each (N, 10) for RNN gates
    p, *state = gate(x, *state)             # p: (N,) in (0, 1); the block is executed iff p > 0.5
    g = decide(p, "straight_through")       # (N,) 0 or 1 forward, gradient of p backward

Multiply-adds over those of a residual block of the same width: FFGate-I 15.6 % (the paper prints 19 %, which its own
layer shapes do not give), FFGate-II 12.5 %, RNNGate 0.02-0.03 % (paper: 0.04 %).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from searchspace.blocks import conv_norm

# Logit that a fresh gate adds for "execute": p starts at about 0.88. SkipNet starts without a bias, its gates nearly all
# open or all closed by chance; in a short training closed ones stay closed. ConvNet-AIG (ECCV 2018) starts 85 % open.
OPEN = 2.0
STATE = 10  # width of the RNN gate's embedding and state (section 4, "dimension 10")


class FeedForwardGate(nn.Module):
    """FFGate-I: max pooling, convolution 3x3, convolution 3x3 stride 2; FFGate-II: convolution 3x3 stride 2 alone. Then
    global pooling, 1x1 convolution to two logits, softmax. (Figure 11a labels both convolutions "stride 2"; text and
    code have 1, then 2.) The pool keeps an odd edge, so that a map of one pixel passes."""

    def __init__(self, channels: int, pooled: bool):
        super().__init__()
        first = [nn.MaxPool2d(2, ceil_mode=True), conv_norm(channels, channels, 3, 1, act="relu")] if pooled else []
        self.features = nn.Sequential(*first, conv_norm(channels, channels, 3, 2, act="relu"))
        self.decision = nn.Linear(channels, 2)
        with torch.no_grad():
            self.decision.bias.copy_(torch.tensor([0.0, OPEN]))

    def start(self, x: Tensor) -> tuple[Tensor, ...]:
        return ()

    def sharpen(self, factor: float) -> None:
        """Multiplies the logits."""
        with torch.no_grad():
            self.decision.weight.mul_(factor)
            self.decision.bias.mul_(factor)

    def close(self) -> None:
        """Never executes its block again, whatever it sees."""
        nn.init.zeros_(self.decision.weight)
        with torch.no_grad():
            self.decision.bias.copy_(torch.tensor([20.0, -20.0]))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        logits = self.decision(self.features(x).mean((2, 3)))
        return (torch.softmax(logits, 1)[:, 1],)


class RecurrentCore(nn.Module):
    """LSTM cell (Hochreiter and Schmidhuber 1997) and output layer, written out in linear layers: one piece that any
    exporter can trace, without the dispatch of an nn.LSTM call a step."""

    def __init__(self) -> None:
        super().__init__()
        self.from_input = nn.Linear(STATE, 4 * STATE)
        self.from_state = nn.Linear(STATE, 4 * STATE)
        self.decision = nn.Linear(STATE, 1)
        nn.init.constant_(self.decision.bias, OPEN)

    def forward(self, embedded: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep_in, keep_old, new, out = (self.from_input(embedded) + self.from_state(h)).chunk(4, 1)
        c = torch.sigmoid(keep_old) * c + torch.sigmoid(keep_in) * torch.tanh(new)
        h = torch.sigmoid(out) * torch.tanh(c)
        return torch.sigmoid(self.decision(h))[:, 0], h, c


class RecurrentGate(nn.Module):
    """RNNGate: global pooling -> linear C -> 10, of its own; recurrent core, shared or of its own. The state runs from
    gate to gate within one image."""

    def __init__(self, channels: int, core: RecurrentCore):
        super().__init__()
        self.embed = nn.Linear(channels, STATE)
        self.core = core

    def start(self, x: Tensor) -> tuple[Tensor, ...]:
        zeros = x.new_zeros(x.shape[0], STATE)
        return zeros, zeros.clone()

    def sharpen(self, factor: float) -> None:
        """Multiplies the logit (of all gates that share the core)."""
        with torch.no_grad():
            self.core.decision.weight.mul_(factor)
            self.core.decision.bias.mul_(factor)

    def close(self) -> None:
        """Never executes its block again, whatever it sees (with it all gates that share its core)."""
        nn.init.zeros_(self.core.decision.weight)
        nn.init.constant_(self.core.decision.bias, -20.0)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        p, h, c = self.core(self.embed(x.mean((2, 3))), h, c)
        return p, h, c


class HighwayTransform(nn.Module):
    """Highway's transform gate T(x) = sigmoid(W x + b), b negative so that it starts by carrying (arXiv:1505.00387,
    section 2.2). Soft: y = T(x) H(x) + (1 - T(x)) x computes both branches and saves nothing; a baseline, not a design
    that a space offers."""

    def __init__(self, channels: int, bias: float = -2.0):
        super().__init__()
        self.transform = nn.Conv2d(channels, channels, 1)
        nn.init.constant_(self.transform.bias, bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, transformed: Tensor) -> Tensor:
        t = torch.sigmoid(self.transform(x))
        return t * transformed + (1 - t) * x


class GateMaker:
    """Makes the gates of one net; gates that share are one module (same design, same width), and shared RNN gates have
    one core whatever their width."""

    def __init__(self, shared: bool):
        self.shared = shared
        self._made: dict[tuple[str, int], nn.Module] = {}

    def __call__(self, design: str, channels: int) -> nn.Module:
        if design == "rnn":
            core = self._once(("core", 0), RecurrentCore) if self.shared else RecurrentCore()
            assert isinstance(core, RecurrentCore)
            return RecurrentGate(channels, core)
        make: Callable[[], nn.Module] = lambda: FeedForwardGate(channels, pooled=design == "ff1")  # noqa: E731
        return self._once((design, channels), make) if self.shared else make()

    def _once(self, key: tuple[str, int], make: Callable[[], nn.Module]) -> nn.Module:
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]


def decide(p: Tensor, how: str = "threshold", generator: torch.Generator | None = None) -> Tensor:
    """p: (N,) -> 0 or 1 as float. "threshold": p > 0.5, no gradient. "straight_through": the same forward, gradient of p
    backward (SkipNet's supervised stage). "sample": drawn with probability p, no gradient (its policy stage)."""
    if how == "sample":
        return torch.bernoulli(p.detach(), generator=generator)
    hard = (p > 0.5).to(p.dtype)
    if how == "threshold":
        return hard.detach()
    if how == "straight_through":
        # hard + (p - p) keeps the forward value exact: (hard - p) + p would round
        return hard.detach() + (p - p.detach())
    raise ValueError(f"decide: how={how!r} is not one of threshold, straight_through, sample")
