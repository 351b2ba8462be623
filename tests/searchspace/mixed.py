"""Nets for tests whose gates decide by the image."""

import torch

import searchspace as ss


def net_of(name, mode="gather", seed=0):
    """A net with batch statistics that are not the initial ones, its decisions mixed."""
    torch.manual_seed(seed)
    net = ss.build(ss.anchor(name, classes=10), execution=mode)
    net.train()
    for _ in range(3):
        net._plain(torch.randn(8, 3, 32, 32))
    net.eval()
    x = torch.randn(64, 3, 32, 32)
    for gate in net.gates.values():  # fresh gates say the same of every image: these part them in the middle
        last = gate.embed if hasattr(gate, "core") else gate.decision
        said = []
        hook = last.register_forward_hook(lambda m, i, o: said.append(o))  # noqa: B023
        net.run(x)
        hook.remove()
        scale = 2 / said[0].std(0)
        last.weight.data.mul_(scale[:, None])
        last.bias.data.sub_(said[0].mean(0)).mul_(scale)
        if hasattr(gate, "core"):
            torch.nn.init.zeros_(gate.core.decision.bias)
    return net
