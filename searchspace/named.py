"""One resolver: the name of any net -> an Architecture, a trained Network or a module.

An anchor (`mobilenet_v1-0.25`), `timm:NAME`, `torchvision:NAME`, a folder `outputs/NAME/nets/ID`, an `architecture.json`,
or your own `package.module:function` that returns an nn.Module.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchspace.anchors import LISTS, NAMES, UnknownNet, anchor
from searchspace.architecture import Architecture

if TYPE_CHECKING:
    from torch import nn


def resolve(name: str, resolution: int | None = None, classes: int | None = None, in_channels: int = 3,
            min_map: int = 2) -> Architecture | nn.Module:  # fmt: skip
    """The named net. Folders give the trained Network; timm, torchvision and functions give modules with random weights.

    Raises UnknownNet, its message one line with the nearest names."""
    if name.startswith("timm:"):
        return _timm(name[5:], classes, in_channels)
    if name.startswith("torchvision:"):
        return _torchvision(name[12:], classes)
    path = Path(name)
    if path.is_dir():
        from searchspace.card import load

        return load(path)
    if path.suffix == ".json":
        return _from_file(path)
    if ":" in name:
        return _function(name)
    if "/" in name:
        raise UnknownNet(f"{name!r}: there is no such folder")
    return anchor(name, resolution=resolution, classes=classes, in_channels=in_channels, min_map=min_map)


def check(name: str) -> None:
    """Whether the name can be a net, as far as can be told without torch; UnknownNet if not."""
    if name.startswith(("timm:", "torchvision:")) or (":" in name and not Path(name).exists()):
        return
    path = Path(name)
    if path.is_dir():
        if not (path / "architecture.json").exists():
            raise UnknownNet(f"{name!r} holds no architecture.json")
        path = path / "architecture.json"
    if path.suffix == ".json":
        _from_file(path)
    elif "/" in name:
        raise UnknownNet(f"{name!r}: there is no such folder")
    else:
        anchor(name)


def expand(names: str | list[str]) -> list[str]:
    """A named list (`small`) or one net, or a list of both -> the nets, each once."""
    out: list[str] = []
    for name in [names] if isinstance(names, str) else names:
        out += [n for n in LISTS.get(name, (name,)) if n not in out]
    return out


def _from_file(path: Path) -> Architecture:
    if not path.is_file():
        raise UnknownNet(f"{str(path)!r}: there is no such file")
    try:
        return Architecture.from_json(path.read_text())
    except (ValueError, UnicodeDecodeError) as error:
        raise UnknownNet(f"{str(path)!r}: {error}") from None


def _near(name: str, names: list[str]) -> str:
    near = difflib.get_close_matches(name, names, 3, 0.5)
    return f"; did you mean {', '.join(near)}?" if near else ""


def _timm(name: str, classes: int | None, in_channels: int) -> nn.Module:
    import timm

    if not timm.is_model(name):
        raise UnknownNet(f"'timm:{name}': timm has no such net{_near(name, timm.list_models())}")
    more: dict[str, Any] = {"num_classes": classes} if classes else {}
    return timm.create_model(name, pretrained=False, in_chans=in_channels, **more)


def _torchvision(name: str, classes: int | None) -> nn.Module:
    from torchvision import models

    if name not in (names := models.list_models(module=models)):
        raise UnknownNet(f"'torchvision:{name}': torchvision has no such net{_near(name, names)}")
    net: nn.Module = models.get_model(name, weights=None, **({"num_classes": classes} if classes else {}))
    return net


def _function(name: str) -> nn.Module:
    from torch import nn

    module, _, function = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        made = getattr(importlib.import_module(module), function)()
    except (ImportError, AttributeError) as error:
        raise UnknownNet(
            f"{name!r}: {error}; known names begin with timm:, torchvision:, or are {', '.join(NAMES[:4])}, ..."
        ) from None
    if not isinstance(made, nn.Module):
        raise UnknownNet(f"{name!r} returned a {type(made).__name__}, not an nn.Module")
    return made
