"""Training: it learns, it repeats bit for bit, it resumes, it says what went wrong."""

import dataclasses
import os
import signal

import numpy as np
import pytest
import torch

import searchspace as ss
from searchspace.architecture import Architecture, Block, Head, Stage, Stem
from trainers.data import load
from trainers.judged import evaluate
from trainers.supervised import CheckpointError, CheckpointUnusable, Recipe, fit, parameter_groups

BLOCKS = (Block("residual", 12, 2), Block("residual", 12, 1, gate="rnn"), Block("residual", 12, 1, gate="rnn"))
GATED = Architecture(Stem(12), (Stage(BLOCKS),), Head(), 8, 10, 1, "shared", 0.1)
PLAIN = GATED.without_gates()


@pytest.fixture(scope="module")
def digits():
    return load("digits", crop=1, with_test=True)


def trained(a, data, recipe, **more):
    torch.manual_seed(recipe.seed)
    net = ss.build(a)
    return net, fit(net, data, recipe, **more)


@pytest.mark.parametrize("a", [PLAIN, GATED], ids=["plain", "gated"])
def test_it_learns_and_repeats_bit_for_bit(digits, a):
    recipe = Recipe(epochs=4, seed=3)
    told = []
    (one, first), (two, second) = trained(a, digits, recipe, on_epoch=lambda *e: told.append(e)), trained(a, digits, recipe)
    assert first.top1_val > 85 and [e for e, _ in told] == [1, 2, 3, 4] and told[-1][1] == first.top1_val
    assert first.top1_val == second.top1_val and first.keep_rate == second.keep_rate
    assert all(torch.equal(p, q) for p, q in zip(one.state_dict().values(), two.state_dict().values()))
    other, _ = trained(a, digits, dataclasses.replace(recipe, seed=4))
    assert not torch.equal(next(one.parameters()), next(other.parameters()))
    x, y = digits.val
    assert evaluate(one, x, y, digits, 8) == (first.top1_val, first.keep_rate)
    assert (first.keep_rate is None) == (a is PLAIN)


def test_the_skip_reward_closes_gates(digits):
    recipe = Recipe(epochs=3)
    free, eager = (trained(dataclasses.replace(GATED, skip_alpha=alpha), digits, recipe)[1] for alpha in (0.0, 5.0))
    assert eager.keep_rate < 0.3 < 0.6 < free.keep_rate


def test_a_checkpoint_goes_on_to_the_same_end(digits, tmp_path):
    recipe = Recipe(epochs=4)
    whole, want = trained(PLAIN, digits, recipe)

    class Stop(Exception):
        pass

    def stop(epoch, top1):
        if epoch == 2:
            raise Stop

    with pytest.raises(Stop):
        trained(PLAIN, digits, recipe, on_epoch=stop, checkpoint=tmp_path / "last.ckpt")
    seen = []
    resumed, got = trained(PLAIN, digits, recipe, on_epoch=lambda e, t: seen.append(e), checkpoint=tmp_path / "last.ckpt")
    assert seen == [3, 4] and got.top1_val == want.top1_val
    assert all(torch.equal(p, q) for p, q in zip(whole.state_dict().values(), resumed.state_dict().values()))
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
    again = trained(PLAIN, digits, recipe, checkpoint=tmp_path / "last.ckpt")[1]
    assert again.top1_val == want.top1_val


def dropping():
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Dropout(0.3), torch.nn.Linear(288, 10)
    )


@pytest.mark.parametrize("streamed", [False, True], ids=["dropout", "folders"])
def test_what_torch_draws_resumes_too(digits, tmp_path, streamed):
    """Dropout of a module that is no Architecture; order, crops and mirrors of streamed images."""
    from tests.trainers.test_data import folders

    data = load("imagefolder", folders(tmp_path / "images", n=40), flip=True) if streamed else digits
    streaming = Architecture(Stem(8, stride=2), (Stage((Block("residual", 8, 2),)),), Head(), 16, 2)
    recipe, path = Recipe(epochs=3, batch_size=16), tmp_path / "last.ckpt"

    class Stop(Exception):
        pass

    def stop(epoch, top1):
        if epoch == 1:
            raise Stop

    def run(**more):
        torch.manual_seed(7)
        net = ss.build(streaming) if streamed else dropping()
        return net, fit(net, data, recipe, resolution=16 if streamed else 8, **more)

    whole, want = run()
    with pytest.raises(Stop):
        run(on_epoch=stop, checkpoint=path)
    resumed, got = run(checkpoint=path)
    assert got.top1_val == want.top1_val
    assert all(torch.equal(p, q) for p, q in zip(whole.state_dict().values(), resumed.state_dict().values()))


def test_images_per_second_counts_what_was_trained_on(tmp_path):
    """48 images in one batch, told as 512; a training that was over already trains on none."""
    from tests.trainers.test_data import npz

    data, a = load("npz", npz(tmp_path / "a.npz")), dataclasses.replace(PLAIN, classes=3, in_channels=3)
    recipe, path = Recipe(epochs=2, batch_size=512), tmp_path / "last.ckpt"
    first, again = trained(a, data, recipe, checkpoint=path)[1], trained(a, data, recipe, checkpoint=path)[1]
    assert first.images_per_s * first.seconds == pytest.approx(2 * 48) and again.images_per_s == 0


def test_a_checkpoint_of_other_data_or_another_module_is_refused(digits, tmp_path):
    path = tmp_path / "last.ckpt"
    trained(PLAIN, digits, Recipe(epochs=1), checkpoint=path)
    with pytest.raises(CheckpointError, match=r"data: 1151 of digits.* → 576 of digits"):
        trained(PLAIN, load("digits", fraction=0.5), Recipe(epochs=1), checkpoint=path)
    path.unlink()
    fit(dropping(), digits, Recipe(epochs=1), checkpoint=path, resolution=8)
    wider = torch.nn.Sequential(torch.nn.Conv2d(1, 9, 3), torch.nn.Flatten(), torch.nn.Linear(324, 10))
    with pytest.raises(CheckpointError, match="net: Sequential-") as error:
        fit(wider, digits, Recipe(epochs=1), checkpoint=path, resolution=8)
    assert "\n" not in str(error.value)
    torch.save({"made_by": 3}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        trained(PLAIN, digits, Recipe(epochs=1), checkpoint=path)


def test_training_is_silent(digits, capfd):
    trained(PLAIN, digits, Recipe(epochs=1))
    said = capfd.readouterr()
    assert said.out == "" and said.err == ""


def test_a_foreign_or_broken_checkpoint_is_refused_and_kept(digits, tmp_path):
    path = tmp_path / "last.ckpt"
    trained(PLAIN, digits, Recipe(epochs=1), checkpoint=path)
    before = path.read_bytes()
    with pytest.raises(CheckpointError, match="another net, data or recipe"):
        trained(GATED, digits, Recipe(epochs=1), checkpoint=path)
    with pytest.raises(CheckpointError, match="lr"):
        trained(PLAIN, digits, Recipe(epochs=1, lr=0.3), checkpoint=path)
    assert path.read_bytes() == before
    path.write_bytes(before[: len(before) // 2])
    with pytest.raises(CheckpointError, match=r"last\.ckpt") as error:
        trained(PLAIN, digits, Recipe(epochs=1), checkpoint=path)
    assert "\n" not in str(error.value)


def test_a_loss_that_is_not_finite_is_named(digits):
    with pytest.raises(FloatingPointError, match="epoch 1"):
        trained(PLAIN, digits, Recipe(epochs=2, lr=1e30, warmup_epochs=0))


def test_ctrl_c_stays_ctrl_c(digits):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where tests run in the background
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        trained(PLAIN, digits, Recipe(epochs=50), on_epoch=lambda e, t: os.kill(os.getpid(), signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is handler
    signal.signal(signal.SIGINT, before)


def test_depthwise_norms_and_biases_do_not_decay():
    net = ss.build(ss.anchor("mobilenet_v2-0.5-32", classes=10))
    (_, decay), (_, rest) = parameter_groups(net)
    assert all(p.dim() in (2, 4) for p in decay) and len(decay) + len(rest) == len(list(net.parameters()))
    depthwise = [m.weight for m in net.modules() if isinstance(m, torch.nn.Conv2d) and m.groups > 1]
    assert len(depthwise) == 17 and all(any(p is q for q in rest) for p in depthwise)


def test_streamed_folders_train(tmp_path):
    from tests.trainers.test_data import folders

    data = load("imagefolder", folders(tmp_path, n=40), flip=True)
    a = Architecture(Stem(8, stride=2), (Stage((Block("residual", 8, 2),)),), Head(), 16, 2)
    _, found = trained(a, data, Recipe(epochs=3, batch_size=16))
    assert found.top1_val >= 90  # two shades of grey


def test_the_normalisation_inside_matches(digits):
    """What training sees is (pixels - mean) / std."""
    from trainers.supervised import Supervised

    module = Supervised(ss.build(PLAIN), digits, Recipe(1), 1)
    x = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8), np.uint8)
    want = (x.astype(np.float64) - digits.mean[0]) / digits.std[0]
    assert np.allclose(module.prepared(torch.from_numpy(x)).numpy(), want, atol=1e-5)


@pytest.mark.parametrize("a", [PLAIN, GATED], ids=["plain", "gated"])
def test_a_training_halted_at_rungs_ends_as_one_that_was_not(digits, tmp_path, a):
    """Bit for bit, and each rung is what the whole training had at that epoch: a promoted net is no other net."""
    kept, recipe, whole = tmp_path / "a.ckpt", Recipe(3, seed=1), {}
    want, last = trained(a, digits, recipe, on_epoch=whole.__setitem__)
    for until in (1, 2, 3):
        net, epochs = ss.build(a), {}  # of weights drawn anew: what it goes on with is in the file
        if until == 1:
            net, _ = trained(a, digits, recipe, on_epoch=epochs.__setitem__, checkpoint=kept, until=1)
        else:
            found = fit(net, digits, recipe, epochs.__setitem__, kept, until=until)
            assert found.top1_val == whole[until] and found.epochs == until
        assert epochs == {until: whole[until]}
    assert found.keep_rate == last.keep_rate
    assert all(torch.equal(p, q) for p, q in zip(want.state_dict().values(), net.state_dict().values(), strict=True))
    with pytest.raises(CheckpointUnusable, match="of epoch 3, past 2"):
        fit(net, digits, recipe, checkpoint=kept, until=2)
