"""init=timm, with a hub of our own in place of the network: timm itself adapts and loads, only the download is replaced."""

import copy
import json
import os
import socket
import subprocess
import sys

import pytest
import timm
import torch

import searchspace as ss
from hardware.meter import Latency
from study.settings import SettingsError
from study.training.pretrained import begun_from
from study.training.train import train
from study.trial import Bench, Candidate
from tests.study.conftest import ROOT

SIZE = 64  # the last map is 2x2: no stride dropped, so that timm's logits are ours


@pytest.fixture
def hub(monkeypatch):
    """name -> what "pretrained" is: seeded weights, 1000 classes, 3 channels. `hub.asked`: every call."""
    real, weights = timm.create_model, {}

    def published(name):
        if name not in weights:
            with torch.random.fork_rng():  # a download draws nothing
                torch.manual_seed(11)
                drawn = real(name).state_dict()
                weights[name] = {k: v + 0.5 * torch.rand(v.shape) if "running" in k else v for k, v in drawn.items()}
        return weights[name]

    def create_model(name, pretrained=False, **more):
        published.asked.append((name, pretrained))
        if pretrained:
            more["pretrained_cfg_overlay"] = {"state_dict": copy.deepcopy(published(name))}
        return real(name, pretrained=pretrained, **more)

    published.asked = []
    monkeypatch.setattr(timm, "create_model", create_model)
    return published


def bench(classes=10, channels=1, seed=0):
    made = Bench.__new__(Bench)
    made.settings = type("S", (), {"seed": seed})()
    made.data = type("D", (), {"classes": list(range(classes)), "channels": channels})()
    return made


def begun(name, resolution=SIZE, classes=10, channels=1, seed=3):
    architecture = ss.anchor(name, resolution=resolution, classes=classes, in_channels=channels)
    return begun_from("timm", name, Candidate(architecture, name), bench(classes, channels, seed))


def config(*overrides):
    """train.py's, as Hydra composes it."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    from conf.command import folder_name
    from conf.schema import register

    register()
    OmegaConf.register_new_resolver("folder_name", folder_name, replace=True)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return OmegaConf.to_container(compose("train", overrides=list(overrides)), resolve=True)


def test_the_whole_path_begins_with_timms_logits(hub, monkeypatch, tmp_path):
    x, first = torch.randn(2, 1, SIZE, SIZE), []
    fit = Bench.fit

    def watched(self, candidate, net, *arguments, **more):
        with torch.no_grad():
            first.append(net.eval()(x))
        net.train()
        return fit(self, candidate, net, *arguments, **more)

    monkeypatch.setattr(Bench, "fit", watched)
    of_no_account = Latency(1.0, 0.9, 1.1, 9, "law", "m", False, "", None, 1, 1)
    monkeypatch.setattr(Bench, "latency", lambda *arguments, **more: of_no_account)
    asked = config("net=mobilenet_v2-0.5", "init=timm", "data=digits", f"data.resolution={SIZE}", "data.fraction=0.1",
                   "epochs=1", "seed=3", "logger=none", "hardware.spread_s=0")  # fmt: skip
    target = train(asked, tmp_path / "out")
    torch.manual_seed(3)
    theirs = timm.create_model("mobilenetv2_050", pretrained=True, num_classes=10, in_chans=1).eval()
    assert torch.equal(theirs.conv_stem.weight, hub("mobilenetv2_050")["conv_stem.weight"].sum(1, keepdim=True))
    with torch.no_grad():
        want = theirs(x)
    assert (first[0] - want).abs().max() <= 1e-5 * want.abs().max()
    assert json.loads((target / "card.json").read_text())["init"] == "timm"
    trained = ss.load(target)
    with torch.no_grad():
        assert (trained(x) - want).abs().max() > 0.01 * want.abs().max()  # it went on from there

    def gone(*arguments, **more):
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", gone)
    assert train(asked, tmp_path / "out") == target and len(first) == 1  # what is begun needs no hub


@pytest.mark.parametrize("name", ["mobilenet_v2-0.5", "mobilenet_v3_small"])
def test_all_but_the_classifier_is_loaded_for_other_classes(hub, name):
    twin = {"mobilenet_v2-0.5": "mobilenetv2_050", "mobilenet_v3_small": "mobilenetv3_small_100"}[name]
    same, other = begun(name, classes=1000, channels=3).state_dict(), begun(name, channels=3).state_dict()
    assert hub.asked == [(twin, True)] * 2
    fresh = {k for k in same if same[k].shape != other[k].shape or not torch.equal(same[k], other[k])}
    assert fresh == {"head.classifier.classes.weight", "head.classifier.classes.bias"}
    assert torch.equal(same["head.classifier.classes.weight"], hub(twin)["classifier.weight"])
    assert torch.equal(same["stem.0.weight"], hub(twin)["conv_stem.weight"])


def test_a_fresh_classifier_follows_from_the_seed(hub):
    a, b, c = (begun("mobilenet_v3_small", seed=s).head.classifier.classes.weight for s in (3, 3, 4))
    assert torch.equal(a, b) and not torch.equal(a, c)
    name = "timm:mobilenetv3_small_050"
    theirs = [begun_from("timm", name, Candidate(None, name), bench(seed=s)).classifier.weight for s in (3, 3, 4)]
    assert torch.equal(theirs[0], theirs[1]) and not torch.equal(theirs[0], theirs[2])


def test_dropped_strides_and_gates_take_the_same_weights(hub):
    large, small = begun("mobilenet_v2-0.5").state_dict(), begun("mobilenet_v2-0.5-16-rnn")
    assert small.architecture.gates and small.architecture.total_stride < 32
    own = small.state_dict()
    assert all(torch.equal(own[k], v) for k, v in large.items())
    assert all(k.startswith("gates.") for k in set(own) - set(large))


@pytest.mark.parametrize(
    ("candidate", "words"),
    [
        (Candidate(ss.anchor("mobilenet_v1"), "mobilenet_v1"),
         ["mobilenet_v1 has other activations", "relu6", "use net=timm:mobilenetv1_100"]),
        (Candidate(ss.anchor("resnet_20"), "resnet_20"), ["timm has no net with the blocks of resnet_20", "mobilenetv2_100"]),
        (Candidate(ss.anchor("mobilenet_v3_small-0.5"), "mobilenet_v3_small-0.5"), ["blocks of mobilenet_v3_small-0.5"]),
        (Candidate(None, "torchvision:alexnet"), ["torchvision:alexnet is not one of timm's nets", "net=timm:NAME"]),
    ],
)  # fmt: skip
def test_what_timm_does_not_have_is_said_before_it_is_asked(hub, candidate, words):
    with pytest.raises(SettingsError) as refused:
        begun_from("timm", candidate.net, candidate, bench())
    assert all(word in str(refused.value) for word in ["init=timm", *words]) and "\n" not in str(refused.value)
    assert hub.asked == []


def test_another_release_of_timm_is_refused_in_one_line(monkeypatch):
    wider = timm.create_model("mobilenetv2_100", num_classes=10, in_chans=1)
    monkeypatch.setattr(timm, "create_model", lambda *arguments, **more: wider)
    with pytest.raises(SettingsError, match=r"init=timm: timm:mobilenetv2_050 does not fit mobilenet_v2-0.5: conv_stem.weight"):
        begun("mobilenet_v2-0.5")


@pytest.mark.parametrize("net", ["mobilenet_v2", "timm:mobilenetv2_035"])
def test_without_a_hub_it_says_so_in_one_line_and_leaves_nothing(net, tmp_path, tmp_path_factory):
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), f"net={net}", "init=timm", "data=digits", "logger=none"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
        | {"HF_ENDPOINT": "https://hub.invalid", "HF_HOME": str(tmp_path_factory.mktemp("hub"))},  # .invalid: RFC 2606
    )  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: init=timm: the weights of timm:mobilenetv2_") and "use init=null" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("known", [True, False])
def test_a_hub_without_an_address_is_not_asked_again_and_again(hub, monkeypatch, known):
    from huggingface_hub import constants

    def look_up(host, port):
        assert host == "huggingface.co"
        if not known:
            raise socket.gaierror(-2, "Name or service not known")
        return [()]

    monkeypatch.setattr(constants, "ENDPOINT", "https://huggingface.co")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    create_model, seen = timm.create_model, []
    monkeypatch.setattr(timm, "create_model", lambda *a, **m: (seen.append(constants.HF_HUB_OFFLINE), create_model(*a, **m))[1])
    begun("mobilenet_v2-0.35", resolution=16)
    assert seen == [not known] and constants.HF_HUB_OFFLINE is False
