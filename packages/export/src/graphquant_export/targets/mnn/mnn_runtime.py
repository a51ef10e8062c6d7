"""An exported MNN model in MNN's runtime, under the names of its TensorFlow graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import import_frozen, load_graph_def, tensor_name
from graphquant_core.graph.frozen.channels_last import TO_NCHW
from graphquant_core.layer import Layer, Skip
from graphquant_core.runtime import LayerExecution, LayerOutput
from graphquant_core.suggestions import closest
from graphquant_export.inputs.feeds import checked_feeds, default_feeds
from graphquant_export.layout import INNER
from graphquant_export.targets.mnn.layer_results import LayerResults, RuntimeLayer
from graphquant_export.targets.mnn.layers import plan_for_mnn
from graphquant_export.targets.mnn.model_file import MnnLayer, read_mnn_model
from graphquant_export.targets.mnn.op_names import mnn_op_names
from graphquant_export.targets.mnn.outputs import mnn_output
from graphquant_export.targets.mnn.runtime import run_mnn_model
from graphquant_export.targets.mnn.wheel import mnn_version

_MOVED_TYPES = frozenset({"ExpandDims", "Identity", "Reshape", "Squeeze", "Transpose"})


class MnnRuntime:
    """Runs one .mnn file and reads back what it holds.

    Args:
        model_path: The model.
        frozen_path: The frozen graph that it was converted from.
        layers: The quantised layers, in the order of the graph.
        others: Layers of the model that the frozen graph has in another form: those in loops.

    Raises:
        MissingDependencyError: The wheel ``MNN`` is not installed.
        ModelFileError: A file is missing or broken.
    """

    def __init__(
        self,
        model_path: Path,
        frozen_path: Path,
        layers: Iterable[RuntimeLayer],
        others: Iterable[Skip] = (),
    ) -> None:
        mnn_version()
        self._path = model_path
        self._layers = tuple(layers)
        self._others = tuple(others)
        self._channels_first = {layer.name for layer in self._layers if layer.channels_first}
        self._model = read_mnn_model(model_path)
        self._graph = import_frozen(load_graph_def(frozen_path, "frozen_path"))
        self._view = GraphView(self._graph)
        self._plan = plan_for_mnn(self._graph, view=self._view)
        self._results = LayerResults(self._view, self._plan, self._model, self._layers)
        self._defaults = default_feeds(self._graph)

    def run(
        self, feeds: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]
    ) -> dict[str, npt.NDArray[Any]]:
        """Value of each of `outputs`, float32, in TensorFlow's layout; integers are int32.

        Raises:
            ConfigError: `feeds` names no placeholder, or lacks one.
            RangeError: A value doesn't fit its placeholder.
            ModelFileError: An output isn't in the .mnn file, or MNN can't run it.
        """
        tensors = {name: self._output_tensor(name) for name in outputs}
        found = self._run(feeds, tensors.values())
        return {name: self._as_in_graph(name, found[tensors[name]]) for name in outputs}

    def output_step(self, output: str) -> float | None:
        """Step of the grid that `output` lies on; ``None`` when it is float."""
        grids = self._results.grids()
        op = self._op(output)
        while op.name not in grids and op.type in _MOVED_TYPES:
            op = op.inputs[0].op
        grid = grids.get(op.name)
        return None if grid is None else grid.scale

    def layer_outputs(self, feeds: Mapping[str, npt.NDArray[Any]]) -> dict[str, LayerOutput]:
        """What each quantised layer returned, by the name of the layer.

        A layer whose result the runtime keeps under no name is left out.

        Raises: as `run`.
        """
        shown = self._results.shown()
        found = self._run(feeds, [result.tensor for result in shown.values()])
        return {
            layer: LayerOutput(
                result.node.removesuffix(INNER),
                self._as_in_model(layer, self._as_in_graph(result.node, found[result.tensor])),
                None if result.grid is None else result.grid.scale,
                None if result.grid is None else result.grid.ends,
            )
            for layer, result in shown.items()
        }

    def executions(self) -> tuple[LayerExecution, ...]:
        """How each layer of the graph is computed, as the .mnn file says, in its order."""
        quantized = {layer.node: layer for layer in self._layers}
        rows = [
            self._execution(quantized.pop(row.name))
            if row.name in quantized
            else LayerExecution(
                row.name,
                row.op_type,
                mnn_op_names(self._view, row)[0] if isinstance(row, Layer) else None,
                "float",
                "it is not in the record" if isinstance(row, Layer) else row.reason,
            )
            for row in (*self._plan.rows, *self._others)
        ]
        rows += [self._execution(layer) for layer in quantized.values()]
        order = {op.name: index for index, op in enumerate(self._view.operations)}
        nodes = {layer.name: layer.node for layer in self._layers}
        # A skip inside of a function body or a loop is no op of the graph, and comes last.
        last = len(order)
        return tuple(sorted(rows, key=lambda row: order.get(nodes.get(row.layer, row.layer), last)))

    def _execution(self, layer: RuntimeLayer) -> LayerExecution:
        op_type = layer.op_type or str(self._op(layer.node).type)
        names = self._results.mnn_names(layer)
        if not names:
            # No layer with a weight that MNN quantises; it has the name that TensorFlow gave it.
            return LayerExecution(layer.name, op_type, layer.result, "float", layer.reason)
        stored = self._results.parts(layer)
        if len(stored) < len(names):
            return LayerExecution(layer.name, op_type, None, "missing", layer.reason)
        found = {_execution(part) for part in stored}
        execution = found.pop() if len(found) == 1 else "float"
        return LayerExecution(layer.name, op_type, names[0], execution, layer.reason)

    def _run(
        self, feeds: Mapping[str, npt.NDArray[Any]], tensors: Iterable[str]
    ) -> dict[str, npt.NDArray[Any]]:
        # MNN would compute with what happens to be in the memory of an input that has no value.
        checked = self._defaults | checked_feeds(self._graph, feeds)
        inputs = {tensor_name(name): value for name, value in checked.items()}
        wanted = dict.fromkeys(tensors)
        # The memory of an input holds something else when the session is through.
        computed = [name for name in wanted if name not in inputs]
        found = run_mnn_model(self._path, inputs, computed)
        return {name: found[name] if name in found else inputs[name] for name in wanted}

    def _output_tensor(self, output: str) -> str:
        return mnn_output(self._graph, self._op(output).name, self._model)

    def _op(self, name: str) -> tf.Operation:
        try:
            return self._graph.get_operation_by_name(name)
        except KeyError:
            known = [op.name for op in self._view.operations]
            raise ModelFileError(
                f'output "{name}" is not in the frozen graph{closest(name, known)}'
            ) from None

    def _as_in_model(self, layer: str, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """`value`, which `layer` returned, in the layout that the model has it in."""
        first = layer in self._channels_first and value.ndim == len(TO_NCHW)
        return value.transpose(TO_NCHW) if first else value

    def _as_in_graph(self, name: str, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """`value` with the rank that the op `name` has: MNN returns a matrix as an image."""
        shape = self._op(name).outputs[0].shape
        if shape.rank is None or shape.rank == value.ndim:
            return value
        sizes = [size if size is not None else -1 for size in shape.as_list()]
        return value.reshape(sizes) if sizes.count(-1) <= 1 else value


def _execution(stored: MnnLayer) -> str:
    if stored.int8:
        return "int8"
    return "float" if stored.weight is None else f"int{stored.weight.bits} weights"
