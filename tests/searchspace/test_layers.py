"""MobileNetV1's body as its Table 1 has it."""

import searchspace as ss
from searchspace.layers import layers


def test_mobilenet_v1_layer_by_layer():
    body = layers(ss.anchor("mobilenet_v1"))
    assert len(body) == 28 and sum(layer.macs for layer in body) == 568_740_352
    assert sum(layer.weights for layer in body) == ss.count(ss.anchor("mobilenet_v1")).weights
    first, second, third = body[:3]
    assert (first.type, first.stride, first.filter, first.size_in) == ("conv", 2, (3, 3, 3, 32), (224, 224, 3))
    assert (second.type, second.filter, second.size_in) == ("depthwise", (3, 3, 1, 32), (112, 112, 32))
    assert (third.type, third.filter, third.macs) == ("conv1x1", (1, 1, 32, 64), 112 * 112 * 32 * 64)
    assert [layer.stride for layer in body if layer.type == "depthwise"] == [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1]
    assert (body[-1].type, body[-1].filter, body[-1].size_in) == ("linear", (1024, 1000), (1, 1, 1024))


def test_gates_are_left_out():
    assert layers(ss.anchor("skipnet_20-ff1")) == layers(ss.anchor("resnet_20"))
