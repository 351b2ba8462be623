"""One resolver: the name of any net -> an Architecture, a trained Network or a module.

An anchor (`mobilenet_v1-0.25`), a classic that is a plain module (`nasnet_a`), `timm:NAME`, `torchvision:NAME`, a folder
`outputs/NAME/nets/ID`, an `architecture.json`, or your own `package.module:function` that returns an nn.Module.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from searchspace.anchors import LISTS, NAMES, UnknownNet, anchor
from searchspace.architecture import Architecture
from searchspace.classics import is_classic, make, said

if TYPE_CHECKING:
    from torch import nn

LARGER = (24, 32, 48, 64, 96, 128, 224)  # pixels that are tried where a net does not take what it is given


def resolve(name: str, resolution: int | None = None, classes: int | None = None, in_channels: int = 3,
            min_map: int = 2) -> Architecture | nn.Module:  # fmt: skip
    """The named net. Folders give the trained Network; timm, torchvision, classics and functions give modules with random
    weights.

    Raises UnknownNet, its message one line with the nearest names."""
    if name.startswith("timm:"):
        return _timm(name[5:], classes, in_channels)
    if name.startswith("torchvision:"):
        return _torchvision(name[12:], classes, in_channels)
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
    if is_classic(name):
        return make(name, resolution, classes, in_channels)
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
    elif is_classic(name):
        said(name)
    else:
        anchor(name)


def does_not_fit(net: nn.Module, in_channels: int, resolution: int, classes: int) -> str:
    """Why a module does not take images of this kind and give a logit a class; empty when it does."""
    import torch

    flags = [(m, m.training) for m in net.modules()]
    try:
        with torch.no_grad():
            out = net.eval()(torch.zeros(2, in_channels, resolution, resolution))
    except Exception as error:  # a foreign net may raise anything
        why = " ".join(str(error).split())[:150]
        cure = f"; it takes {larger}: data.resolution={larger}" if (larger := _larger(net, in_channels, resolution)) else ""
        return f"does not take images of {in_channels} x {resolution} x {resolution} ({type(error).__name__}: {why}){cure}"
    finally:
        for module, flag in flags:
            module.training = flag
    shape = tuple(getattr(out, "shape", ()))
    return (
        "" if shape == (2, classes) else f"gives {shape or type(out).__name__} for two images; the data asks for (2, {classes})"
    )


def _larger(net: nn.Module, in_channels: int, resolution: int) -> int | None:
    """The next usual number of pixels that the net, in eval mode, does take."""
    import torch

    for size in (r for r in LARGER if r > resolution):
        with contextlib.suppress(Exception), torch.no_grad():
            net(torch.zeros(1, in_channels, size, size))
            return size
    return None


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


def _torchvision(name: str, classes: int | None, in_channels: int) -> nn.Module:
    from torchvision import models

    if name not in (names := models.list_models(module=models)):
        raise UnknownNet(f"'torchvision:{name}': torchvision has no such net{_near(name, names)}")
    more: dict[str, Any] = {"num_classes": classes} if classes else {}
    if name in ("googlenet", "inception_v3"):
        more |= {"aux_logits": False, "init_weights": False}  # one output, in training too
    net: nn.Module = models.get_model(name, weights=None, **more)
    return _with_channels(net, in_channels)


def _with_channels(net: nn.Module, in_channels: int) -> nn.Module:
    """The first convolution made anew where the images have other than its channels (torchvision's nets take three)."""
    from torch import nn

    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d):
            if module.in_channels != in_channels:
                parent, _, last = name.rpartition(".")
                like: Any = {k: getattr(module, k) for k in ("kernel_size", "stride", "padding")}
                fresh = nn.Conv2d(in_channels, module.out_channels, bias=module.bias is not None, **like)
                setattr(net.get_submodule(parent), last, fresh)
            break
    return net


def _function(name: str) -> nn.Module:
    from torch import nn

    module, _, function = name.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        make = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:  # ValueError: nothing before the colon
        raise UnknownNet(
            f"{name!r}: {error}; known names begin with timm:, torchvision:, or are {', '.join(NAMES[:4])}, ..."
        ) from None
    except Exception as error:  # the user's module may raise anything
        raise UnknownNet(f"{name!r}: importing {module} raised {_told(error)}") from None
    try:
        made = make()
    except Exception as error:
        raise UnknownNet(f"{name!r}: calling it without arguments raised {_told(error)}") from None
    if not isinstance(made, nn.Module):
        raise UnknownNet(f"{name!r} returned a {type(made).__name__}, not an nn.Module")
    return made


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
