"""What is counted for the lecture's tables, against the papers' numbers."""

from study.measuring import lecture
from study.measuring.lecture import counted_net


def test_gates():
    gates = lecture.gates()["gates"]
    assert gates.groupby(["design", "depth"]).size().to_dict() == {(d, n): 17 if n == 38 else 53 for d in ("ff1", "ff2", "rnn")
                                                                   for n in (38, 110)}  # fmt: skip
    share = lambda row: row["gate_macs"] / row["saved_macs"]  # noqa: E731
    of = {(r["design"], r["width_in"], r["width"]): share(r) for r in gates.to_dict("records")}
    for width in (16, 32, 64):
        assert round(of["ff1", width, width], 4) == 0.1563 and round(of["ff2", width, width], 4) == 0.1250
        assert of["rnn", width, width] == (10 * width + 810) / 4_718_592
    assert round(of["ff1", 16, 32], 3) == 0.208 and round(of["ff2", 32, 64], 3) == 0.167
    assert {round(macs / 1e6, 2) for macs in gates["net_macs"]} == {83.28, 253.15}


def test_nets():
    rows = {name: counted_net(name) for name in ("alexnet", "alexnet-ungrouped", "nasnet_a", "torchvision:vgg16")}
    assert round(rows["alexnet"]["macs_m"], 2) == 724.41 and rows["alexnet"]["resolution"] == 227
    assert round(1 - rows["alexnet"]["macs_m"] / rows["alexnet-ungrouped"]["macs_m"], 2) == 0.36
    assert round(rows["nasnet_a"]["macs_m"], 3) == 563.639 and round(rows["nasnet_a"]["params_m"] * 1e6) == 5_289_978
    assert round(rows["torchvision:vgg16"]["convs_m"], 1) == 15346.6
    assert round(counted_net(lecture.AT_227, 227)["macs_m"], 1) == 832.7
    assert counted_net("timm:mobilenetv4_conv_medium")["resolution"] == 256
    gone = counted_net("torchvision:alexnett")
    assert "alexnett" in gone["why"] and gone["macs_m"] != gone["macs_m"]
