"""What a network is: values, spaces, blocks, gates, counts. Importing this package imports no torch; see each file.

import searchspace as ss
a = ss.anchor("mobilenet_v1", alpha=0.5, resolution=160)
net = ss.build(a); c = ss.count(a); space = ss.space("mobile"); net = ss.load("outputs/NAME/nets/ID")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from searchspace.anchors import anchor as anchor
    from searchspace.architecture import Architecture as Architecture
    from searchspace.card import load as load
    from searchspace.complexity import count as count
    from searchspace.inference import folded as folded
    from searchspace.named import resolve as resolve
    from searchspace.network import build as build
    from searchspace.space import SearchSpace as SearchSpace
    from searchspace.space import named_space as space  # noqa: F401

_WHERE = {"Architecture": "architecture", "SearchSpace": "space", "anchor": "anchors", "build": "network", "count": "complexity",
          "folded": "inference", "load": "card", "resolve": "named"}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "space":
        return import_module("searchspace.space")  # callable: see the end of that file
    if name not in _WHERE:
        raise AttributeError(f"module 'searchspace' has no attribute {name!r}")
    return getattr(import_module(f"searchspace.{_WHERE[name]}"), name)
