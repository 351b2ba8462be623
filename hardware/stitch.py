"""A gated net (SkipNet, arXiv:1711.09485) as one ONNX graph with real `If` nodes, stitched from pieces.

Each piece (what lies before a gate, the gate, the block, its shortcut, the head) is free of control flow and
is exported alone; the pieces are joined with one `If` a gate. The weights of a block live INSIDE its branch:
ONNX Runtime lays out and fuses the convolutions of a branch only then. With the weights in the main graph, as
scripting and torch.cond leave them, a net that keeps every block runs about twice as slowly (0.45 ms against
0.68-1.0 ms where it was tried).

Expect 0.1-0.2 s for 9 gated blocks, 0.7 s for 54; at keep 1 about a fifth slower than the ungated net (gates
and borders). A gate module used by several blocks is written once a block: gates are small.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

Trace = Callable[[nn.Module, tuple[Tensor, ...], list[str], list[str]], onnx.ModelProto]


class _Shortcut(nn.Module):
    def __init__(self, block: Any):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        return self.block.shortcut(x)


class _Part:
    """Nodes and initializers of one piece, its inner names prefixed, its inputs and outputs bound to the
    given names."""

    def __init__(self, model: onnx.ModelProto, prefix: str, binding: dict[str, str]):
        graph = model.graph
        produced = {name for node in graph.node for name in node.output}

        def named(name: str) -> str:
            return "" if name == "" else binding.get(name, prefix + name)

        self.nodes, self.initializers = [], []
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
            self.initializers.append(fresh)
        for out in graph.output:
            if out.name not in produced:
                raise ValueError(f"{prefix.rstrip('/')} returns a value that it did not compute")


def stitch(net: Any, image: Tensor, trace: Trace) -> onnx.ModelProto:
    """`net`: normalise and a gated module, in eval mode; `image`: an example (1, C, H, W); `trace`: exports
    one piece. The graph: image -> logits (1, classes), kept (1, gates) float. Raises ValueError for a piece
    with control flow."""
    module: Any = net.module
    nodes: list[onnx.NodeProto] = []
    initializers: list[onnx.TensorProto] = []
    kept: list[str] = []
    made_with: list[onnx.ModelProto] = []

    def piece(part: nn.Module, prefix: str, bind_in: dict[str, Tensor], bind_out: list[str]) -> tuple[_Part, tuple[Tensor, ...]]:
        names_in, names_out = (
            [f"in{k}" for k in range(len(bind_in))],
            [f"out{k}" for k in range(len(bind_out))],
        )
        model = trace(part, tuple(bind_in.values()), names_in, names_out)
        made_with.append(model)
        result = part(*bind_in.values())
        binding = dict(zip(names_in + names_out, [*bind_in, *bind_out], strict=True))
        return _Part(model, prefix, binding), result if isinstance(result, tuple) else (result,)

    def main(part: nn.Module, prefix: str, bind_in: dict[str, Tensor], bind_out: list[str]) -> tuple[Tensor, ...]:
        made, values = piece(part, prefix, bind_in, bind_out)
        nodes.extend(made.nodes)
        initializers.extend(made.initializers)
        return values

    x, name = image, "image"
    straight: list[nn.Module] = [net.normalise, module.stem]  # what runs for every image, up to the next gate
    state: dict[str, Tensor] = {}
    for i, block in enumerate(module.blocks):
        if str(i) not in module.gates:
            straight.append(block)
            continue
        if straight:
            (x,), name = main(nn.Sequential(*straight), f"before{i}/", {name: x}, [f"x{i}"]), f"x{i}"
            straight = []
        gate = module.gates[str(i)]
        start = tuple(gate.start(x))
        if start and not state:  # the state runs through all recurrent gates, in order
            state = {f"state/{k}": t for k, t in enumerate(start)}
            initializers.extend(numpy_helper.from_array(t.cpu().numpy(), n) for n, t in state.items())
        told = state if start else {}
        names = [f"gate{i}/state{k}" for k in range(len(told))]
        values = main(gate, f"gate{i}/", {name: x, **told}, [f"gate{i}/p", *names])
        state = dict(zip(names, values[1:], strict=True)) if told else state
        then, (y,) = piece(block, f"block{i}/", {name: x}, [f"block{i}/kept"])
        nodes.append(helper.make_node("Greater", [f"gate{i}/p", "half"], [f"gate{i}/keep"]))
        kept.append(f"gate{i}/keep")
        if block.shortcut(x) is x:
            # a branch must compute what it returns: an outer value handed through is not valid
            skip_nodes, skip_weights = [helper.make_node("Identity", [name], [f"block{i}/skipped"])], []
        else:
            skip, _ = piece(_Shortcut(block), f"skip{i}/", {name: x}, [f"block{i}/skipped"])
            skip_nodes, skip_weights = skip.nodes, skip.initializers
        branches = {
            key: helper.make_graph(body, f"block{i}_{key}", [], [_info(out, y)], weights)
            for key, body, out, weights in (
                ("then_branch", then.nodes, f"block{i}/kept", then.initializers),
                ("else_branch", skip_nodes, f"block{i}/skipped", skip_weights),
            )
        }
        nodes.append(helper.make_node("If", [f"gate{i}/keep"], [f"y{i}"], name=f"block{i}", **branches))
        x, name = y, f"y{i}"
    (logits,) = main(nn.Sequential(*straight, module.head), "head/", {name: x}, ["logits"])
    # one Cast and one Reshape for all gates: at a microsecond a node they would be a few per cent of a small net
    nodes.append(helper.make_node("Concat", kept, ["all/keep"], axis=0))
    nodes.append(helper.make_node("Cast", ["all/keep"], ["all/float"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("Reshape", ["all/float", "one_row"], ["kept"]))
    initializers.append(numpy_helper.from_array(np.array(0.5, np.float32), "half"))
    initializers.append(numpy_helper.from_array(np.array([1, -1], np.int64), "one_row"))
    outputs = [
        _info("logits", logits),
        helper.make_tensor_value_info("kept", TensorProto.FLOAT, [1, len(kept)]),
    ]
    graph = helper.make_graph(nodes, "gated", [_info("image", image)], outputs, initializers)
    return helper.make_model(graph, opset_imports=list(made_with[0].opset_import), ir_version=made_with[0].ir_version)


def _info(name: str, value: Tensor) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(value.shape))
