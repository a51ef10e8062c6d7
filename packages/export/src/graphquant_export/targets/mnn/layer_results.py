"""Which tensor of an .mnn file is the result of a layer, and on which grid it lies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import attrs

from graphquant_core.graph import GraphView, affine_tail, following_activation
from graphquant_core.layer import Layer
from graphquant_core.plan import Plan
from graphquant_export.targets.mnn.model_file import MnnLayer, MnnModel, TensorGrid
from graphquant_export.targets.mnn.op_names import (
    ACTIVATIONS,
    RESHAPING_TYPES,
    mnn_op_names,
    op_with_activation,
)


@attrs.frozen
class RuntimeLayer:
    """A layer of the export.

    Attributes:
        name: Name of the layer in the record.
        node: Name of its op in the graph that was converted.
        result: Name of the op there that has its result when the .mnn file has no such layer.
        reason: Why it isn't an int8 layer, or what else a reader should know.
        joined: Name of the op there that joins its result with those of its group, or that puts its
            values where they belong; ``None`` when it has neither.
        op_type: Type of its op in the model that was exported; that of `node` by default.
        channels_first: Whether it is NCHW in the model, whose channels are last in that graph.
    """

    name: str
    node: str
    result: str
    reason: str | None = None
    joined: str | None = None
    op_type: str | None = None
    channels_first: bool = False


@attrs.frozen
class ShownResult:
    """The result of a layer in the .mnn file.

    Attributes:
        node: Name of the op of the graph that was converted with the same value.
        tensor: Name of the tensor in the file.
        grid: Its grid; ``None`` when it is float.
    """

    node: str
    tensor: str
    grid: TensorGrid | None


class LayerResults:
    """The results of the quantised layers of `model`.

    Args:
        view: View of the graph that was converted.
        plan: What MNN does with its ops.
        model: What the .mnn file holds.
        layers: The quantised layers.
    """

    def __init__(
        self, view: GraphView, plan: Plan, model: MnnModel, layers: Iterable[RuntimeLayer]
    ) -> None:
        self._view = view
        self._model = model
        self._layers = tuple(layers)
        self._rows = {row.name: row for row in plan.layers}

    def mnn_names(self, layer: RuntimeLayer) -> tuple[str, ...]:
        """Names of the ops that MNN makes of `layer`; none where it quantises no such layer."""
        row = self._rows.get(layer.node)
        return () if row is None else mnn_op_names(self._view, row)

    def parts(self, layer: RuntimeLayer) -> list[MnnLayer]:
        """Those of them that the file has."""
        layers = self._model.layers
        return [layers[name] for name in self.mnn_names(layer) if name in layers]

    def shown(self) -> dict[str, ShownResult]:
        """The result of each layer that the runtime keeps under a name, by the layer's name."""
        grids = self.grids()
        results: dict[str, ShownResult] = {}
        for layer in self._layers:
            node, parts = self._node(layer), self.parts(layer)
            tensor = node if node in self._model.tensors else None
            if tensor is None and layer.joined is None and len(parts) == 1:
                tensor = self._result_of(layer, parts[0], node)
            if tensor is not None:
                results[layer.name] = ShownResult(self._undilated(node), tensor, grids.get(node))
        return results

    def grids(self) -> dict[str, TensorGrid]:
        """The grid of each result that is int8, by its node: of several parts' the widest."""
        grids: dict[str, TensorGrid] = {}
        for layer in self._layers:
            node = self._node(layer)
            found = [part.output for part in self.parts(layer) if part.int8 and part.output]
            known = [grids[node]] if node in grids else []
            if known or found:
                grids[node] = max(known + found, key=lambda grid: grid.scale)
        return grids

    def _node(self, layer: RuntimeLayer) -> str:
        if layer.joined is not None:
            return layer.joined
        row = self._rows.get(layer.node)
        if row is not None:
            moved = self._moved_activation(layer, row)
            if moved is not None:
                return moved
            shown = (name for name in self._merged(row) if name in self._model.tensors)
            return next(shown, str(op_with_activation(self._view, row).name))
        result = self._view.graph.get_operation_by_name(layer.result)
        merged = following_activation(self._view, result.outputs[0])
        hidden = layer.result not in self._model.tensors and merged is not None
        return str(merged.name) if hidden and merged is not None else layer.result

    def _result_of(self, layer: RuntimeLayer, part: MnnLayer, node: str) -> str | None:
        """Name of the tensor that `part` returns; ``None`` if it can't be brought to the shape."""
        row = self._rows.get(layer.node)
        moved = row is not None and self._moved_activation(layer, row) == node
        sizes = self._view.graph.get_operation_by_name(node).outputs[0].shape
        known = sizes.rank is not None and sizes.as_list().count(None) <= 1
        return part.tensors[1] if known or not moved else None

    def _moved_activation(self, layer: RuntimeLayer, row: Layer) -> str | None:
        """Name of the Relu that MNN merged into `layer` from behind ops that move its values."""
        *_, last = self._merged(row)
        op = self._view.graph.get_operation_by_name(last)
        if op.type in ACTIVATIONS or not any(part.relu or part.relu6 for part in self.parts(layer)):
            return None
        consumers = self._view.consumers(op.outputs[0])
        while len(consumers) == 1 and consumers[0][0].type in RESHAPING_TYPES:
            consumers = self._view.consumers(consumers[0][0].outputs[0])
        found = len(consumers) == 1 and consumers[0][0].type in ACTIVATIONS
        return str(consumers[0][0].name) if found else None

    def _undilated(self, node: str) -> str:
        """`node`, or the BatchToSpaceND behind it: MNN makes one op of a dilated convolution."""
        result = self._view.graph.get_operation_by_name(node).outputs[0]
        for op, _ in self._view.consumers(result):
            if op.type == "BatchToSpaceND" and op.name not in self._model.tensors:
                return str(op.name)
        return node

    def _merged(self, layer: Layer) -> Iterator[str]:
        """Names of the ops that MNN may merge into `layer`: it calls the result after the last."""
        yield str(op_with_activation(self._view, layer).name)
        tensor = self._view.graph.get_operation_by_name(layer.name).outputs[0]
        axis, channels = layer.output_channel_axis, layer.output_channels or 0
        for step in affine_tail(self._view, tensor, axis, channels):
            tensor = step.output
            yield str(tensor.op.name)
        activation = following_activation(self._view, tensor)
        if activation is not None:
            yield str(activation.name)
