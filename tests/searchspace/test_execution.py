"""Skipped blocks are not run, and nobody can tell from the logits."""

import itertools

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import searchspace as ss
from searchspace import execution
from searchspace.execution import Batch, apart, rows_of
from tests.searchspace.mixed import net_of

ATEN = torch.ops.aten


def close(a, b):
    return (a - b).abs().max() <= 1e-5 * b.abs().max()


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a device: numbers read, shapes that depend on data, copies to the host."""

    def __init__(self, monkeypatch):
        super().__init__()
        self.seen = []
        read = torch.Tensor.tolist
        monkeypatch.setattr(torch.Tensor, "tolist", lambda t: (self.seen.append("tolist"), read(t))[1])

    def __torch_dispatch__(self, f, types, args=(), kwargs=None):
        waits = f in (ATEN._local_scalar_dense.default, ATEN.nonzero.default, ATEN.masked_select.default, ATEN.equal.default)
        index = args[1] if f in (ATEN.index.Tensor, ATEN.index_put_.default, ATEN._index_put_impl_.default) else ()
        if waits or any(t is not None and t.dtype == torch.bool for t in index):
            self.seen.append(str(f))
        return f(*args, **(kwargs or {}))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("images", [1, 2, 7, 64])
@pytest.mark.parametrize("name", ["skipnet_14-rnn", "mobilenet_v2-0.5-32-ff2", "skipnet_50-0.25-32-rnn"])
def test_gathering_equals_masking(name, images, layout):
    net = net_of(name).to(memory_format=layout)
    x = torch.randn(images, 3, 32, 32).to(memory_format=layout)
    untouched = x.clone()
    gates = len(net.gates)
    rates = (0.0, 0.1, 0.25, 0.5, 0.75, 0.95, 1.0)
    forced = [torch.rand(images, gates) < rate for rate in rates] + [torch.rand(gates) < 0.5]
    for force in [None, *forced]:
        y, kept = net.run(x, force)
        z, wanted = net.masked(x, force=force)
        assert kept.dtype == torch.bool and torch.equal(kept, wanted > 0.5) and close(y, z)
        assert force is None or torch.equal(kept, force.expand(images, -1))
    assert torch.equal(x, untouched)


def test_the_gates_of_these_tests_decide_by_the_image():
    for name in ("skipnet_14-rnn", "mobilenet_v2-0.5-32-ff2"):
        _, kept = net_of(name).run(torch.randn(64, 3, 32, 32))
        assert ((kept.sum(0) > 0) & (kept.sum(0) < 64)).sum() >= 2, name


def test_every_pattern_of_a_small_net():
    net = net_of("skipnet_8-ff1")
    patterns = torch.tensor(list(itertools.product([False, True], repeat=2)))
    x = torch.randn(1, 3, 32, 32)
    for pattern in patterns:
        assert close(net.run(x, pattern)[0], net.masked(x, force=pattern)[0])
    for rows in itertools.product(range(4), repeat=3):  # three images, each with a pattern of its own
        some = x + torch.arange(3.0)[:, None, None, None] / 10
        force = patterns[list(rows)]
        y, kept = net.run(some, force)
        assert close(y, net.masked(some, force=force)[0]) and torch.equal(kept, force)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("images", [1, 2, 7, 67, 128])
def test_any_rows_of_any_block(images, layout, whole):
    net = net_of("skipnet_8-ff2").to(memory_format=layout)
    x = torch.randn(images, 16, 16, 16).to(memory_format=layout)
    untouched = x.clone()
    for block in (net.blocks[0], net.blocks[1]):  # an identity shortcut, a projected one
        ran = []
        hook = block.second.register_forward_hook(lambda m, i, o: ran.append(o.shape[0]))  # noqa: B023
        with torch.no_grad():
            all_of_it, s = block(x), block.shortcut(x)
            for count in {0, 1, 2, images // 3, images // 2, images - 3, images - 1, images} & set(range(images + 1)):
                rows = sorted(torch.randperm(images)[:count].tolist())
                ran.clear()
                out = Batch(x if whole else apart(x))
                out.run(block, rows)
                y = out.whole()
                kept = torch.zeros(images, dtype=torch.bool)
                kept[rows] = True
                assert close(y, torch.where(kept[:, None, None, None], all_of_it, s)) and y.is_contiguous(memory_format=layout)
                step = -(-images // execution.BUCKETS)
                if count == 0:
                    assert ran == []
                elif count > execution.ALL * images:
                    assert ran == [images]
                else:
                    assert len(ran) == 1 and count <= ran[0] < count + step and ran[0] % step == 0
        hook.remove()
    assert torch.equal(x, untouched)


def test_a_batch_meets_few_sizes():
    net = net_of("skipnet_8-ff2")
    sizes = set()
    net.blocks[1].second.register_forward_hook(lambda m, i, o: sizes.add(o.shape[0]))
    for count in range(1, 64):
        force = torch.zeros(63, 2, dtype=torch.bool)
        force[:count, 0] = True
        net.run(torch.zeros(63, 3, 8, 8), force)
    assert 3 < len(sizes) <= execution.BUCKETS


def test_what_a_hook_kept_stays_as_it_was():
    net, kept = net_of("skipnet_14-ff2"), []
    for block in net.blocks:
        block.register_forward_hook(lambda m, i, o: kept.append((o, o.clone())))
    net.run(torch.randn(7, 3, 32, 32), torch.rand(7, 5) < 0.5)
    assert kept and all(torch.equal(a, b) for a, b in kept)


def test_rows_of_a_plan():
    kept = torch.tensor([[True, False, False], [True, True, False]])
    assert list(rows_of(kept)) == [[0, 1], [1], []] == list(rows_of(kept.float()))


def test_forced_gates_are_not_asked():
    for mode in ("gather", "decide_first", "masked"):
        net = net_of("skipnet_14-rnn", mode)
        for gate in net.gates.values():
            gate.forward = lambda *a: pytest.fail("a gate ran")
        for images in (1, 5):
            net.run(torch.randn(images, 3, 32, 32), torch.rand(images, len(net.gates)) < 0.5)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
@pytest.mark.parametrize("each", [False, True])
def test_a_pattern_of_any_type_stays_the_callers(each, dtype):
    net, x = net_of("skipnet_14-rnn"), torch.randn(3, 3, 32, 32)
    pattern = torch.tensor([1, 0, 0, 1, 1], dtype=dtype)
    given = pattern.repeat(3, 1) if each else pattern
    y, kept = net.run(x, given)
    assert torch.equal(kept, pattern.bool().expand(3, -1)) and torch.equal(y, net.run(x, pattern.bool())[0])
    kept[:] = False  # the answer is the caller's: their pattern is not
    assert torch.equal(given, pattern.repeat(3, 1) if each else pattern) and given.any()


@pytest.mark.parametrize("mode", ["gather", "decide_first"])
def test_training_flags_come_back(mode):
    net = net_of("skipnet_14-ff2", mode).train()
    net.blocks[2].first[1].eval()  # frozen
    flags = [m.training for m in net.modules()]
    state = {k: v.clone() for k, v in net.state_dict().items()}
    net.run(torch.randn(3, 3, 32, 32))
    assert [m.training for m in net.modules()] == flags
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize("images", [1, 7])
@pytest.mark.parametrize(("mode", "forced", "waits"), [("gather", False, 8), ("gather", True, 1), ("decide_first", False, 1)])
def test_the_host_waits_once_a_block_at_most(mode, forced, waits, images, monkeypatch):
    net = net_of("skipnet_20-rnn", mode)
    force = torch.rand(images, 8) < 0.5 if forced else None
    with Waits(monkeypatch) as seen:
        net.run(torch.randn(images, 3, 32, 32), force)
    assert len(seen.seen) == waits, seen.seen


def test_the_count_of_waits_can_fail(monkeypatch):
    x = torch.ones(3)
    with Waits(monkeypatch) as seen:
        float(x[0]), x.nonzero(), x[x > 0], x.tolist()
    assert len(seen.seen) == 4


@pytest.mark.parametrize("images", [1, 2, 7, 64])
@pytest.mark.parametrize("name", ["skipnet_14-rnn", "skipnet_14-ff2", "mobilenet_v2-0.5-32-rnn"])
def test_decide_first(name, images):
    """Gathered as masked; each gate reads the way past all blocks, as the sequential policy does when all blocks are skipped."""
    net, x = net_of(name, "decide_first"), torch.randn(images, 3, 32, 32)
    y, kept = net.run(x)
    z, wanted = net.masked(x)
    assert torch.equal(kept, wanted > 0.5) and close(y, z)
    read = []
    for gate in net.gates.values():
        gate.register_forward_pre_hook(lambda m, i: read.append(i[0].clone()))
    net.run(x)
    ahead = list(read)
    read.clear()
    net.execution = "gather"
    closed = [lambda m, i, o: (torch.zeros_like(o[0]), *o[1:])] * len(net.gates)
    for gate, close_it in zip(net.gates.values(), closed, strict=True):
        gate.register_forward_hook(close_it)
    net.run(x)
    assert len(ahead) == len(read) == len(net.gates) and all(torch.equal(a, b) for a, b in zip(ahead, read, strict=True))


def test_decide_first_trains():
    net, x = ss.build(ss.anchor("skipnet_14-ff2"), execution="decide_first"), torch.randn(6, 3, 32, 32)
    twin = ss.build(ss.anchor("skipnet_14-ff2"))
    twin.load_state_dict(net.state_dict())
    net(x)[:, 0].sum().backward()
    assert net.last_kept.shape == (6, 5) and set(net.last_kept.detach().unique().tolist()) <= {0.0, 1.0}
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for g in net.gates.values() for p in g.decision.parameters())
    twin.masked(x, force=net.last_kept.detach() > 0.5)  # the way past all blocks leaves no trace in the blocks' statistics
    for one, other in ((net.blocks, twin.blocks), (net.stem, twin.stem)):
        assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))
