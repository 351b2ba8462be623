"""From an Architecture to a network that runs. At inference a skipped block is truly not run.

    net = build(a).eval()
    logits, kept = net.run(x)                       # x: (N, C, H, W) -> (N, classes), (N, gates) bool
    logits, kept = net.run(x, force=pattern)        # (gates,) or (N, gates) bool: the gates are not evaluated

Training computes every block on the whole batch and mixes, x' = g block(x) + (1 - g) shortcut(x) (SkipNet, eq. 1), so
that batch statistics stay those of the paper; `build(a, execution="masked")` does the same at inference, for comparison.
`build(a, execution="decide_first")` is another policy, in training as at inference: all gates decide before the first gated
block, on what the way past all blocks shows them (searchspace/execution.py), so that a GPU waits for the host once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from searchspace.activations import activation
from searchspace.architecture import Architecture, ArchitectureError
from searchspace.blocks import BLOCKS, ConvBlock, conv_norm
from searchspace.execution import evaluating, past, run_blocks
from searchspace.gates import GateMaker, decide

EXECUTIONS = ("gather", "masked", "decide_first")


class Head(nn.Module):
    """[1x1 convolution] -> global average pool -> [linear] -> linear."""

    def __init__(self, channels: int, spec: Architecture):
        super().__init__()
        head = spec.head
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if head.conv:
            self.conv: nn.Module = conv_norm(channels, head.conv, act=head.activation)
            channels = head.conv
        else:
            self.conv = nn.Identity()
        if head.hidden:
            layers["hidden"] = nn.Linear(channels, head.hidden)
            layers["act"] = activation(head.activation)
            channels = head.hidden
        layers["classes"] = nn.Linear(channels, spec.classes)
        self.classifier = nn.Sequential(layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.conv(x).mean((2, 3)))


class Network(nn.Module):
    """The built net. `last_kept`: after a training forward the gates' decisions (N, gates), with gradient; else None."""

    def __init__(self, architecture: Architecture, execution: str = "gather"):
        super().__init__()
        if execution not in EXECUTIONS:
            raise ValueError(f"execution={execution!r} is not one of {', '.join(EXECUTIONS)}")
        self.architecture = a = architecture
        self.execution = execution
        self.stem = conv_norm(a.in_channels, a.stem.out, a.stem.kernel, a.stem.stride, act=a.stem.activation)
        if a.stem.pool:
            self.stem.append(nn.MaxPool2d(a.stem.pool, 2, a.stem.pool // 2))
        for i, spec in enumerate(a.blocks):
            if spec.family not in BLOCKS:
                raise ArchitectureError(
                    f"blocks[{i}].family", f"{spec.family!r} has no module; register it (searchspace.blocks.register)"
                )
        self.blocks = nn.ModuleList(BLOCKS[b.family](w, b) for b, w in zip(a.blocks, a.widths_in, strict=True))
        self.head = Head(a.blocks[-1].out, a)
        # the gates come last, so that the weights drawn for the rest are those of the ungated twin under the same seed
        make = GateMaker(a.gate_sharing == "shared")
        self.gates = nn.ModuleDict({str(i): make(a.blocks[i].gate, a.widths_in[i]) for i in a.gates})
        self.last_kept: Tensor | None = None
        self.card: dict[str, Any] = {}  # filled by searchspace.load

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.run(x)[0]
        self.last_kept = None
        if not self.gates:
            return self._plain(x)
        logits, self.last_kept = self.masked(x, "straight_through")
        return logits

    def steps(self) -> Iterator[tuple[ConvBlock, nn.Module | None]]:
        """(block, its gate or None) in order."""
        gates = self.gates._modules  # by the block's number, as the blocks themselves: no lookups, this is done in each pass
        for number, block in self.blocks._modules.items():
            yield block, gates.get(number)  # type: ignore[misc]

    def _plain(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.head(x)

    def masked(self, x: Tensor, how: str = "threshold", force: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Every block on every image, mixed by the decisions: logits (N, classes), decisions (N, gates) as float."""
        x = self.stem(x)
        asked = self._asked(x, force)
        return self._masked(x, how, asked), asked.kept()

    def _masked(self, x: Tensor, how: str, asked: _Decisions) -> Tensor:
        for block, gate in self.steps():
            if gate is None:
                x = block(x)
                continue
            g = asked(gate, x, how)
            s = block.shortcut(x)
            mask = g.to(s.dtype)[:, None, None, None]
            x = mask * block.join(block.body(x), s) + (1 - mask) * s
        return self.head(x)

    def sampled(self, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Every block on every image, mixed by decisions that are drawn (or `given`, (N, gates) of 0 and 1): logits (N, classes),
        decisions (N, gates) as float, without gradient, and the probabilities to keep (N, gates) that the gates gave on the way,
        with gradient."""
        x = self.stem(x)
        asked = self._asked(x, None, given)
        logits = self._masked(x, "sample", asked)
        return logits, asked.kept(), torch.stack(asked.p, 1)

    @torch.no_grad()
    def run(self, x: Tensor, force: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Inference. x: (N, C, H, W); force: (gates,) or (N, gates) bool replaces the gates, which are then not evaluated.
        Returns logits (N, classes) and what was kept (N, gates) bool. A skipped block costs its shortcut only. A net in
        training mode runs as in eval mode, and is in training mode afterwards. ValueError for a `force` of another shape."""
        if self.training:
            with evaluating(self):
                return self.run(x, force)
        if self.execution == "masked":
            logits, kept = self.masked(x, "threshold", force)
            return logits, kept > 0.5
        x = self.stem(x)
        x, kept = run_blocks(self.steps(), x, self._asked(x, force), first=self.execution == "decide_first")
        return self.head(x), kept

    def _asked(self, x: Tensor, force: Tensor | None, given: Tensor | None = None) -> _Decisions:
        asked = _Decisions(x, force, len(self.gates), given)
        if self.execution == "decide_first":
            asked.look = lambda x: past(self.steps(), x)
        return asked


class _Decisions:
    """The gates' decisions of one pass, with the RNN state that runs through them. `force`: instead of the gates, which are
    not asked; `given`: instead of what would be drawn from their answers."""

    def __init__(self, x: Tensor, force: Tensor | None, gates: int, given: Tensor | None = None):
        self.taken: list[Tensor] = []
        self.p: list[Tensor] = []
        self.given = given
        self.state: tuple[Tensor, ...] | None = None
        self.rows = x
        self.look: Callable[[Tensor], Iterator[Tensor]] | None = None  # decide_first: from the first gate's input, what all read
        self.seen: Iterator[Tensor] | None = None
        if force is not None:
            force = torch.as_tensor(force, device=x.device)
            if tuple(force.shape) not in ((gates,), (x.shape[0], gates)):
                raise ValueError(f"force: shape {tuple(force.shape)} is neither ({gates},) nor ({x.shape[0]}, {gates})")
            force = force.expand(x.shape[0], -1)
        self.force = force

    def __call__(self, gate: nn.Module, x: Tensor, how: str) -> Tensor:
        if self.force is not None:
            g = self.force[:, len(self.taken)].to(x.dtype)
        else:
            if self.look is not None:
                self.seen = self.seen or self.look(x)
                x = next(self.seen)
            start = gate.start(x)  # type: ignore[operator]
            if start:  # recurrent: the first such gate starts the state, the later ones carry it on
                p, *state = gate(x, *(self.state or start))
                self.state = tuple(state)
            else:
                (p,) = gate(x)
            self.p.append(p)
            g = decide(p, how) if self.given is None else self.given[:, len(self.taken)].to(p.dtype)
        self.taken.append(g)
        return g

    def kept(self) -> Tensor:
        if self.taken:
            return torch.stack(self.taken, 1)
        return self.rows.new_zeros(self.rows.shape[0], 0)


def closed(net: Network) -> Network:
    """Closes every gate of the net for good: the least that any decisions can cost."""
    for gate in net.gates.values():
        gate.close()  # type: ignore[operator]
    return net.eval()


def sharpened(net: Network, factor: float) -> None:
    """Every gate's logits times `factor`, in place, once a module: SkipNet's code does so before its second stage on ImageNet
    (20), so that what is drawn is nearly what was decided."""
    seen: set[int] = set()
    for gate in net.gates.values():
        part = getattr(gate, "core", gate)
        if id(part) not in seen:
            seen.add(id(part))
            gate.sharpen(factor)  # type: ignore[operator]


def build(architecture: Architecture, execution: str = "gather") -> Network:
    """The net with fresh weights from torch's current seed. x: (N, in_channels, H, W) -> (N, classes)."""
    return Network(architecture, execution)
