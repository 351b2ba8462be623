"""`init=timm`: a training that begins from pretrained weights, where they can be had."""

from __future__ import annotations

from typing import Any

from torch import nn

from study.settings import SettingsError


def begun_from(init: str, name: str, candidate: Any, bench: Any) -> nn.Module:
    """The net with pretrained weights. SettingsError says in one line that they cannot be had."""
    if not name.startswith("timm:"):
        raise SettingsError(f"init=timm: {name} is not one of timm's nets; write net=timm:NAME")
    import timm

    try:
        net: nn.Module = timm.create_model(
            name[5:], pretrained=True, num_classes=len(bench.data.classes), in_chans=bench.data.channels
        )
        return net
    except Exception as error:  # no network, no such weights, a changed hub: whatever a download can end in
        raise SettingsError(
            f"init=timm: the weights of {name} cannot be had here ({' '.join(str(error).split())[:150]}); use init=null"
        ) from None
