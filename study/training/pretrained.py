"""`init=timm`: a net that begins with timm's pretrained weights, as timm's own module or as ours of the same blocks.

timm adapts them itself: the first convolution to the channels of the images (one channel: the sum over three), the classifier
made anew, from the run's seed, where the number of classes is another than that of the weights.
"""

from __future__ import annotations

import logging
import socket
import textwrap
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast
from urllib.parse import urlsplit

import torch
from torch import nn

from searchspace.architecture import Architecture
from searchspace.network import Network
from searchspace.timm_weights import NETS, WeightsError, from_timm, timm_name, with_activation
from study.settings import SettingsError
from study.trial import Bench, Candidate


def begun_from(init: str, name: str, candidate: Candidate, bench: Bench) -> nn.Module:
    """The net of `timm:NAME`, or one of ours whose blocks timm has, with timm's weights (`init`: timm). Gates and a classifier
    for other classes are fresh, from the run's seed. SettingsError where timm has no such net, or its weights cannot be had."""
    theirs = name[5:] if name.startswith("timm:") else _theirs(init, name, candidate.architecture)
    import timm

    torch.manual_seed(bench.settings.seed)
    try:
        with _impatient_hub():
            made: nn.Module = timm.create_model(
                theirs, pretrained=True, num_classes=len(bench.data.classes), in_chans=bench.data.channels
            )
    except Exception as error:  # no network, no such weights, a changed hub: whatever a download can end in
        why = textwrap.shorten(str(error) or type(error).__name__, 160, placeholder=" ...")
        raise SettingsError(f"init={init}: the weights of timm:{theirs} cannot be had here ({why}); use init=null") from None
    if candidate.architecture is None:
        return made
    net = cast(Network, bench.make(candidate, bench.settings.seed))
    try:
        from_timm(net, made.state_dict())
    except WeightsError as error:  # another release of timm
        raise SettingsError(f"init={init}: timm:{theirs} does not fit {name}: {error}; use init=null") from None
    return net


def _theirs(init: str, name: str, architecture: Architecture | None) -> str:
    """timm's name of one of our nets; SettingsError says why there is none."""
    if architecture is None:
        raise SettingsError(f"init={init}: {name} is not one of timm's nets; write net=timm:NAME, or use init=null")
    if found := timm_name(architecture):
        return found
    if near := timm_name(with_activation(architecture, "relu6")):
        raise SettingsError(
            f"init={init}: {name} has other activations than timm's {near}, which has relu6 everywhere; use net=timm:{near}"
        )
    raise SettingsError(f"init={init}: timm has no net with the blocks of {name}; it has {', '.join(NETS)}; use init=null")


@contextmanager
def _impatient_hub() -> Iterator[None]:
    """Where the hub's host has no address, its cache alone is asked: its client would try each file six times in 23 seconds,
    and tell each time."""
    from huggingface_hub import constants

    log, offline = logging.getLogger("huggingface_hub"), constants.HF_HUB_OFFLINE
    level = log.level
    log.setLevel(logging.ERROR)
    constants.HF_HUB_OFFLINE = offline or not _has_address(urlsplit(constants.ENDPOINT).hostname)
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = offline
        log.setLevel(level)


def _has_address(host: str | None) -> bool:
    if urllib.request.getproxies():  # a proxy knows addresses that we do not
        return True
    try:
        return bool(socket.getaddrinfo(host, 443))
    except OSError:
        return False
