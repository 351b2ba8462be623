"""Which stages a trainer has, and what a gate's reward is worth."""

import numpy as np
import pytest

import searchspace as ss
from searchspace.complexity import count
from study.settings import SettingsError
from study.training.stages import stages_of, with_skip_alpha
from trainers.supervised import Recipe

NET = ss.anchor("skipnet_20-ff2")
HRL = {"epochs": 5, "lr": 1e-4, "gate_lr": 3.0, "skip_alpha": None, "cost": "one", "beta": 1.0, "weight": 0.01,
       "reduction": "sum", "baseline": "none", "sharpen": 20.0}  # fmt: skip


def made(name, folder, net=NET, **hrl):
    return stages_of({"name": name, "hrl": {**HRL, **hrl}}, net, Recipe(epochs=15, lr=0.05), folder, meter=None)


def test_the_stages_of_each_trainer(tmp_path):
    named = {n: [(s.name, s.recipe.epochs, s.checkpoint, s.suffix) for s in made(n, tmp_path)]
             for n in ("supervised", "skipnet_sp", "skipnet_hrl", "skipnet")}  # fmt: skip
    assert named["supervised"] == [("supervised", 15, "last.ckpt", "")]
    assert named["skipnet_sp"] == [("sp", 15, "last.ckpt", "")]
    assert named["skipnet_hrl"] == [("hrl", 5, "last.ckpt", "")]
    assert named["skipnet"] == [("sp", 15, "sp.ckpt", "-sp"), ("hrl", 5, "last.ckpt", "")]
    second = made("skipnet", tmp_path)[1]
    assert (second.recipe.lr, second.recipe.warmup_epochs, second.sharpen, second.objective.gate_lr) == (1e-4, 0.0, 20.0, 3.0)
    assert second.objective.policy.skip_alpha == NET.skip_alpha and second.objective.policy.costs == (1.0,) * 8


def test_a_reward_by_mult_adds_is_what_a_skip_saves(tmp_path):
    costs = made("skipnet_hrl", tmp_path, cost="macs")[0].objective.policy.costs
    counted = count(NET)
    saved = [counted.by_block[i].macs - counted.shortcuts[i] for i in NET.gates]
    assert np.mean(costs) == pytest.approx(1) and costs == pytest.approx(np.array(saved) / np.mean(saved))
    assert costs[2] < costs[0]  # the strided block computes less, and its shortcut remains
    assert made("skipnet_hrl", tmp_path, cost="macs")[0].objective.policy.costs == costs  # from the folder


def test_a_net_without_gates_has_none_to_train(tmp_path):
    plain = ss.anchor("resnet_20")
    assert made("supervised", tmp_path, plain)[0].name == "none"
    with pytest.raises(SettingsError, match="trainer=skipnet_sp: this net has no gates to train"):
        made("skipnet_sp", tmp_path, plain)
    assert with_skip_alpha(NET, {"hrl": {"skip_alpha": 2}}).skip_alpha == 2.0
    assert with_skip_alpha(plain, {"hrl": {"skip_alpha": 2}}) is plain and with_skip_alpha(NET, {}) is NET
