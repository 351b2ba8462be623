"""A found net on disk: nets/<id>/ with architecture.json, weights.safetensors, card.json (and model.onnx beside them).

    net = searchspace.load("outputs/NAME/nets/ID")     # trained, in eval mode; net.card holds the card
    probabilities = net(searchspace.card.normalised(net, images)).softmax(1)

The weights are safetensors: nothing is unpickled.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_model
from torch import Tensor, nn

from searchspace.architecture import Architecture
from searchspace.network import Network, build


class CardError(ValueError):
    """A folder that holds no usable net; the message names the file."""


def save(net: nn.Module, folder: str | Path, card: Mapping[str, Any], onnx: bytes | None = None) -> None:
    """Writes the folder. Each file appears whole or not at all; card.json comes last and marks it complete. A module that is
    no Network has no architecture.json: its code is its maker's, and `load` says so."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(net, Network):
        _put(folder / "architecture.json", (json.dumps(net.architecture.to_dict(), indent=1) + "\n").encode())
    part = folder / f".weights.{os.getpid()}"
    plain = net.to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    save_model(plain, str(part))  # knows that shared gates are one tensor
    os.replace(part, folder / "weights.safetensors")
    if onnx is not None:
        _put(folder / "model.onnx", onnx)
    _put(folder / "card.json", (json.dumps(dict(card), indent=1) + "\n").encode())


def load(folder: str | Path) -> Network:
    """The trained net of a folder, in eval mode, its card as `net.card`. CardError names what is wrong."""
    folder = Path(folder)
    try:
        architecture = Architecture.from_json((folder / "architecture.json").read_text())
        card = json.loads((folder / "card.json").read_text())
        weights = load_file(folder / "weights.safetensors")
    except FileNotFoundError as error:
        raise CardError(f"{folder}: {Path(str(error.filename or 'weights.safetensors')).name} is missing") from None
    except Exception as error:  # safetensors raises its own Rust type for a corrupt file
        raise CardError(f"{folder}: cannot be read ({error})") from None
    net = build(architecture)
    own = net.state_dict()
    shared = {name: t for name, t in own.items() if name not in weights}
    same = {t.data_ptr(): name for name, t in own.items() if name in weights}
    missing = [name for name, t in shared.items() if t.data_ptr() not in same]
    if missing or set(weights) - set(own):
        raise CardError(
            f"{folder}: weights.safetensors belongs to another architecture ({(missing or list(set(weights) - set(own)))[0]})"
        )
    try:
        net.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise CardError(
            f"{folder}: weights.safetensors belongs to another architecture ({str(error).splitlines()[-1].strip()})"
        ) from None
    net.card = card
    return net.eval()


def normalised(net: Network, images: Tensor) -> Tensor:
    """images: (N, H, W, C) uint8 or (N, C, H, W) raw pixels 0..255 at the net's resolution -> what the net takes."""
    data = net.card["data"]
    x = images.permute(0, 3, 1, 2) if images.dtype == torch.uint8 and images.shape[-1] == net.architecture.in_channels else images
    mean, std = (torch.tensor(data[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    return (x.float() - mean) / std


def _put(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(data)
    os.replace(part, path)
