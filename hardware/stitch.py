"""A gated net (SkipNet, arXiv:1711.09485) as one ONNX graph with real `If` nodes, stitched from pieces.

Each piece (what lies before a gate, the gate, the block, its shortcut, the head) is free of control flow and is exported alone;
the pieces are joined with one `If` a gate. What ONNX Runtime makes of the file decides how it is joined. It gives a convolution
its own layout and fuses what follows into it, but never across the border of a branch, where a map is reordered there and back:

* The weights of a block live INSIDE its branch: only then are its convolutions laid out at all. With the weights in the main
  graph, as scripting and torch.cond leave them, a net that keeps every block runs about twice as slowly.
* The next gate is asked inside the branch, on either way, where the map still has that layout: a feed-forward gate's convolution
  needs no reordering of its own. So its weights are written twice.
* In a branch that adds its input, a max pooling of one pixel, which changes nothing, comes first: it reads the input once and
  hands it on in that layout, to the convolution and to the addition, which is then fused with the convolution before it.

Expect 0.1-0.2 s for 9 gated blocks, 0.7 s for 54. What a file costs beyond the ungated net, in docs/results/skipping.md. A gate
module used by several blocks is written once a block and way: gates are small.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

Trace = Callable[[nn.Module, tuple[Tensor, ...], list[str], list[str]], onnx.ModelProto]

# ONNX Runtime's layout holds 16 channels side by side (8 on processors without AVX512); others it leaves as they are.
LAID_OUT = 16


class _LaidOut(nn.Module):
    """A block on an input that has the layout of its convolutions."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block(F.max_pool2d(x, 1))


class _Shortcut(nn.Module):
    def __init__(self, block: Any):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block.shortcut(x)


class _Piece:
    """A module exported alone, and what it gives on the example inputs."""

    def __init__(self, trace: Trace, part: nn.Module, *inputs: Tensor):
        self.names_in = [f"in{k}" for k in range(len(inputs))]
        values = part(*inputs)
        self.values: tuple[Tensor, ...] = values if isinstance(values, tuple) else (values,)
        self.names_out = [f"out{k}" for k in range(len(self.values))]
        self.model = trace(part, inputs, self.names_in, self.names_out)


class _Graph:
    """The nodes and weights of the main graph or of a branch."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def add(self, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs, outputs, **attributes))

    def constant(self, name: str, value: Any) -> None:
        self.weights.append(numpy_helper.from_array(value, name))

    def put(self, piece: _Piece, prefix: str, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """A copy of the piece, its inner names prefixed, its inputs and outputs bound to the given names."""
        graph = piece.model.graph
        bound = dict(zip([*piece.names_in, *piece.names_out], [*inputs, *outputs], strict=True))
        produced = {name for node in graph.node for name in node.output}

        def named(name: str) -> str:
            return "" if name == "" else bound.get(name, prefix + name)

        for node in graph.node:
            if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
                raise ValueError(f"{prefix.rstrip('/')} holds control flow ({node.op_type}): no piece of a gated net may")
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = prefix + node.name
            copy.input[:] = [named(n) for n in node.input]
            copy.output[:] = [named(n) for n in node.output]
            self.nodes.append(copy)
        for tensor in graph.initializer:
            fresh = onnx.TensorProto()
            fresh.CopyFrom(tensor)
            fresh.name = named(tensor.name)
            self.weights.append(fresh)
        for out in graph.output:
            if out.name not in produced:
                raise ValueError(f"{prefix.rstrip('/')} returns a value that it did not compute")


class _Gates:
    """The gates of a net in order, with the recurrent ones' state, which runs from each to the next."""

    def __init__(self, module: Any, trace: Trace, main: _Graph):
        self.gates, self.trace, self.main = dict(module.gates.items()), trace, main
        self.state: dict[str, Tensor] = {}

    def __contains__(self, block: int) -> bool:
        return str(block) in self.gates

    def ask(self, block: int, x: Tensor) -> tuple[_Piece, list[str], list[str]]:
        """The gate of that block on x: the piece, the names of the state that it reads, and the names of what it gives."""
        gate = self.gates[str(block)]
        start = tuple(gate.start(x))
        if start and not self.state:
            self.state = {f"state/{k}": t for k, t in enumerate(start)}
            for name, t in self.state.items():
                self.main.constant(name, t.cpu().numpy())
        told = self.state if start else {}
        piece = _Piece(self.trace, gate, x, *told.values())
        new = [f"gate{block}/state{k}" for k in range(len(told))]
        if told:
            self.state = dict(zip(new, piece.values[1:], strict=True))
        return piece, list(told), [f"gate{block}/p", *new]


def stitch(net: Any, image: Tensor, trace: Trace) -> onnx.ModelProto:
    """`net`: normalise and a gated module, in eval mode; `image`: an example (1, C, H, W); `trace`: exports one piece. The graph:
    image -> logits (1, classes), kept (1, gates) float. Raises ValueError for a piece with control flow."""
    module: Any = net.module
    main = _Graph()
    gates = _Gates(module, trace, main)
    x, name, asked = image, "image", False
    straight: list[nn.Module] = [net.normalise, module.stem]  # what runs for every image, up to the next gate
    kept: list[str] = []
    for i, block in enumerate(module.blocks):
        if i not in gates:
            straight.append(block)
            continue
        if straight:
            before = _Piece(trace, nn.Sequential(*straight), x)
            main.put(before, f"before{i}/", [name], [f"x{i}"])
            (x,), name, straight = before.values, f"x{i}", []
        if not asked:  # no branch leads here
            gate, told, given = gates.ask(i, x)
            main.put(gate, f"gate{i}/", [name, *told], given)
        main.add("Greater", [f"gate{i}/p", "half"], [f"gate{i}/keep"])
        kept.append(f"gate{i}/keep")

        adds_x = block.shortcut(x) is x
        whole = _Piece(trace, _LaidOut(block) if adds_x and x.shape[1] % LAID_OUT == 0 else block, x)
        (y,) = whole.values
        asked = i + 1 in gates
        next_gate, told, given = gates.ask(i + 1, y) if asked else (None, [], [])
        ways: dict[str, _Graph] = {"then": _Graph(), "else": _Graph()}
        ways["then"].put(whole, f"block{i}/then/", [name], [f"block{i}/then/y"])
        if adds_x:
            # a branch must compute what it returns: an outer value handed through is not valid
            ways["else"].add("Identity", [name], [f"block{i}/else/y"])
        else:
            ways["else"].put(_Piece(trace, _Shortcut(block), x), f"block{i}/else/", [name], [f"block{i}/else/y"])
        branches = {}
        for way, graph in ways.items():
            names, values = [f"block{i}/{way}/y"], [y]
            if next_gate is not None:
                names, values = names + [f"block{i}/{way}/{each}" for each in given], values + list(next_gate.values)
                graph.put(next_gate, f"block{i}/{way}/gate{i + 1}/", [names[0], *told], names[1:])
            out = [_info(n, v) for n, v in zip(names, values, strict=True)]
            branches[f"{way}_branch"] = helper.make_graph(graph.nodes, f"block{i}_{way}", [], out, graph.weights)
        main.add("If", [f"gate{i}/keep"], [f"y{i}", *given], name=f"block{i}", **branches)
        x, name = y, f"y{i}"
    head = _Piece(trace, nn.Sequential(*straight, module.head), x)
    main.put(head, "head/", [name], ["logits"])
    # one Cast and one Reshape for all gates: at a microsecond a node they would be a few per cent of a small net
    main.add("Concat", kept, ["all/keep"], axis=0)
    main.add("Cast", ["all/keep"], ["all/float"], to=TensorProto.FLOAT)
    main.add("Reshape", ["all/float", "one_row"], ["kept"])
    main.constant("half", np.array(0.5, np.float32))
    main.constant("one_row", np.array([1, -1], np.int64))
    outputs = [_info("logits", head.values[0]), helper.make_tensor_value_info("kept", TensorProto.FLOAT, [1, len(kept)])]
    graph = helper.make_graph(main.nodes, "gated", [_info("image", image)], outputs, main.weights)
    return helper.make_model(graph, opset_imports=list(head.model.opset_import), ir_version=head.model.ir_version)


def _info(name: str, value: Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(value.shape))
