"""Static twins: what they keep, and that they compute what the gated net computes when those blocks alone run."""

import dataclasses

import pytest
import torch

import searchspace as ss
from searchspace.complexity import count
from searchspace.twins import static_twin

NET = ss.anchor("skipnet_20-rnn", classes=10)  # 3 stages of 3 blocks; the second and third begin with a strided one


def test_blocks_kept_for_half_of_the_images_stay_and_the_others_leave_their_shortcut():
    keep = [1.0, 0.2, 0.3, 0.5, 0.49, 0.9, 0.0, 0.0]
    twin = static_twin(NET, keep)
    families = [[b.family for b in stage.blocks] for stage in twin.stages]
    assert families == [["residual", "residual"], ["projection", "residual"], ["residual"]]
    assert not twin.gates and twin.skip_alpha is None and twin.stages[1].blocks[0].stride == 2
    # the projection is the gated block's own shortcut
    counted, gated = count(twin), count(NET)
    assert counted.by_block[2].macs == gated.shortcuts[3]
    assert counted.macs == gated.expected_macs([float(k >= 0.5) for k in keep]) - sum(g.macs for g in gated.gates.values())


def test_it_computes_what_the_gated_net_does_with_those_blocks():
    keep = [1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    net, twin = ss.build(NET).eval(), ss.build(static_twin(NET, keep)).eval()
    own = net.state_dict()
    names = {"blocks.0": "blocks.0", "blocks.1": "blocks.1", "blocks.2": "blocks.3", "blocks.3": "blocks.4",
             "blocks.4": "blocks.5", "blocks.5": "blocks.6", "blocks.6": "blocks.7"}  # fmt: skip
    state = {}
    for name in twin.state_dict():
        head = ".".join(name.split(".")[:2])
        state[name] = own[name.replace(head, names.get(head, head), 1)]
    twin.load_state_dict(state)
    x = torch.randn(3, 3, 32, 32)
    want, _ = net.run(x, force=torch.tensor(keep) > 0.5)
    assert torch.allclose(twin(x), want, atol=1e-5)


def test_what_cannot_be_is_said():
    with pytest.raises(ValueError, match="3 keep rates for 8 gates"):
        static_twin(NET, [1.0] * 3)
    assert dataclasses.replace(static_twin(NET, [0.0] * 8)).blocks  # the first block is never gated: something always remains
