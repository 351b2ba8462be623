"""What is printed, against what the nets count: an entry that was mistyped, or a net that was built otherwise, differs."""

import re

import pytest

import searchspace as ss
from searchspace.anchors import LISTS
from searchspace.named import check
from searchspace.published import (
    GATE_SHARES,
    LAYER_TYPES,
    MOBILENETS,
    PUBLISHED,
    SLIPS,
    TABLE_8,
    TABLE_9,
    canonical,
    published,
    usual_resolution,
)

MOBILE = [name for name in MOBILENETS if name.startswith("mobilenet")]


@pytest.mark.parametrize("name", MOBILE)
def test_printed_mult_adds_are_what_the_layers_give_but_for_the_slips(name):
    printed, counted = PUBLISHED[name], ss.count(ss.anchor(name))
    macs_m, weights_m = counted.macs / 1e6, counted.weights / 1e6
    if "first convolution" in printed.slip:  # TF-slim's rows of width 0.75
        size = printed.resolution // 2
        macs_m -= size * size * 3 * 9 * 24 / 1e6
        assert abs(macs_m - printed.macs_m) < 0.03 * printed.macs_m
    elif "34 M" in printed.slip:
        assert round(macs_m) == 30 and printed.macs_m == 34
    else:
        assert abs(macs_m - printed.macs_m) <= max(1.0, 0.05 * printed.macs_m), macs_m
    if "6.9 M" in printed.slip:
        assert round(weights_m, 2) == 6.06
    else:
        assert abs(weights_m - printed.params_m) <= max(0.06, 0.025 * printed.params_m), weights_m


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 8])
def test_shufflenet(groups):
    import torch

    name = f"shufflenet_v1-g{groups}"
    with torch.device("meta"):
        net = ss.resolve(name)
    assert abs(ss.count(net).macs / 1e6 - PUBLISHED[name].macs_m) < 2


def test_every_entry_says_where_it_comes_from():
    for name, entry in PUBLISHED.items():
        check(name)  # every one can be built
        assert canonical(name) == name and re.search(r"arXiv:\d{4}\.\d{5}|tensorflow/models|authors' repository", entry.source)
        assert 20 < entry.top1 < 100 and (entry.macs_m is None or entry.macs_m > 1)
        assert (entry.data == "CIFAR-10") == (entry.resolution == 32)
        assert (entry.kept is not None) == name.startswith("skipnet_")
    assert {PUBLISHED[f"skipnet_{d}-rnn"].kept for d in (38, 74, 110)} == {70.272, 52.340, 49.526}


def test_the_whole_grid_is_there():
    v1 = {name for name in PUBLISHED if name.startswith("mobilenet_v1")}
    assert v1 == {f"mobilenet_v1-{a}-{r}" for a in (1.0, 0.75, 0.5, 0.25) for r in (224, 192, 160, 128)}
    assert LISTS["mobilenets"] == MOBILENETS and len(MOBILENETS) == 16 + 22 + 4 + 2
    assert {*TABLE_8, *TABLE_9} <= set(PUBLISHED)
    slim = [n for n in v1 if "TF-slim" in PUBLISHED[n].source]
    assert len(slim) == 8 and all("checkpoint" in PUBLISHED[n].source for n in slim)


@pytest.mark.parametrize(
    ("name", "means"),
    [("mobilenet_v1", "mobilenet_v1-1.0-224"), ("mobilenet_v2-0.5", "mobilenet_v2-0.5-224"), ("skipnet_38", "skipnet_38-rnn"),
     ("mobilenet_v1-160", "mobilenet_v1-1.0-160"), ("mobilenet_v2-1", "mobilenet_v2-1.0-224"), ("alexnet", "alexnet"),
     ("mobilenet_v2-0.5-160-rnn", "mobilenet_v2-0.5-160-rnn"), ("shufflenet_v1", "shufflenet_v1-g3"),
     ("timm:mobilenetv4_conv_small", "timm:mobilenetv4_conv_small")],
)  # fmt: skip
def test_names(name, means):
    assert canonical(name) == means


def test_what_no_paper_has():
    assert published("mobilenet_v2-rnn") is None and published("resnet_20") is None and published("resnet_38-0.5") is None
    assert published("mobilenet_v1-0.5").source == "arXiv:1704.04861, Table 6"


def test_sizes_of_nets_that_do_not_say_theirs():
    assert usual_resolution("timm:mobilenetv4_conv_medium") == 256 and usual_resolution("timm:resnet18") == 224


def test_the_slips_hold():
    assert round(sum(percent for percent, _ in LAYER_TYPES.values()), 2) == 99.29 and "99.29" in SLIPS["table_2"]
    assert PUBLISHED["torchvision:squeezenet1_0"].slip == SLIPS["squeezenet"] and GATE_SHARES["ff1"] == 19
