"""The last measurement on a machine that trained only a part of the finalists."""

import optuna
import pytest
from optuna.trial import create_trial

import study.final_session as final_session
from searchspace.anchors import anchor
from searchspace.network import Network
from study.finalists import candidate_of


@pytest.fixture
def finals():
    study = optuna.create_study(direction="maximize")
    for name in ("skipnet_20-rnn", "mobilenet_v1-0.25"):
        net = anchor(name, resolution=12, classes=10, in_channels=1)
        attrs = {"id": name, "seed": 0, "architecture": net.to_dict(), "top1_val": 90.0, "parity": 1e-6}
        study.add_trial(create_trial(values=[90.0], user_attrs=attrs))
    return study


def test_a_gated_net_without_its_weights_is_not_measured(finals, tmp_path, monkeypatch):
    """Fresh gates decide by chance: their time would be told as the trained net's."""
    asked = []

    class Bench:
        meter = type("M", (), {"setting": type("S", (), {"precision": "fp32"})()})()

        def make(self, candidate, seed):
            return Network(candidate.architecture)

    def measured(bench, nets):
        asked.extend(nets)
        return {}, {}

    monkeypatch.setattr(final_session, "measured", measured)
    monkeypatch.setattr(final_session, "levers", lambda *_: {})
    final_session.measure_side_by_side(finals, Bench(), tmp_path)
    assert asked == ["mobilenet_v1-0.25"]
    why = finals.user_attrs["unmeasured"]
    assert list(why) == ["skipnet_20-rnn"] and "is not on this machine" in why["skipnet_20-rnn"]
    assert candidate_of(finals.trials[0].user_attrs).gated
