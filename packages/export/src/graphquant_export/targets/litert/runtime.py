"""Runs a .tflite artifact in LiteRT, and reads back what it holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import ConfigError, OutputNotFoundError
from graphquant_core.exporter import ExportSource
from graphquant_core.files import read_bytes
from graphquant_core.graph import GraphView, plan_graph
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen, tensor_name
from graphquant_core.graph.frozen.channels_last import TO_NCHW
from graphquant_core.listing import listed
from graphquant_core.record import Record
from graphquant_core.runtime import LayerExecution, LayerOutput
from graphquant_core.suggestions import closest
from graphquant_export.inputs.feeds import checked_feeds, default_feeds
from graphquant_export.quantized.simulate import SimulatedLayer, simulation_of
from graphquant_export.targets.litert import names
from graphquant_export.targets.litert.artifact import LiteRtArtifact
from graphquant_export.targets.litert.executions import (
    find_operator,
    layer_execution,
    result_of,
)
from graphquant_export.targets.litert.file import LiteRtFile
from graphquant_export.targets.litert.interpreter import check_installed, invoke

Array = npt.NDArray[Any]

_ACTIVATIONS = ("Relu", "Relu6")


class LiteRtRuntime:
    """The runtime of `artifact`, with the file as it is now.

    Raises:
        MissingDependencyError: The wheel ``ai-edge-litert`` is not installed.
        ModelFileError: The file is missing or broken.
    """

    def __init__(self, artifact: LiteRtArtifact) -> None:
        check_installed()
        self._content = read_bytes(artifact.model_path, "artifact")
        self._file = LiteRtFile(self._content, f"artifact ({artifact.model_path})")
        source = artifact.source
        pruned = GraphDefEditor(source.model).graph_def(source.outputs)
        self._view = GraphView(import_frozen(pruned))
        self._ops = {op.name: op for op in self._view.operations}
        self._plan = plan_graph(self._view.graph, view=self._view)
        self._defaults = default_feeds(self._view.graph)
        self._channels_first = {
            layer.name for layer in self._plan.layers if layer.data_format == "NCHW"
        }
        layers = _simulated_layers(source)
        shared = Counter(layer.result for layer in layers)
        # The members of a group have their result in one Concat.
        self._joined = {layer.name: layer.result for layer in layers if shared[layer.result] > 1}
        # A bias of zeros has no place in the file: the sum is the result.
        self._results_of_sums = {layer.node: layer.result for layer in layers}

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Value of each of `outputs`, float32 where it is quantised.

        Args:
            feeds: Value of each placeholder, by its name in TensorFlow.
            outputs: Names of TensorFlow ops that are outputs of the model.

        Raises:
            OutputNotFoundError: An output is not one of the model.
            ConfigError, RangeError, NonFiniteError: `feeds` don't fit the placeholders, or give one
                with a default another value than the file holds.
            ModelFileError: LiteRT can't run the model.
        """
        tensors = {name: self._output(name) for name in outputs}
        found = invoke(self._content, self._inputs(feeds))
        return {
            name: self._file.dequantized(tensor, found[tensor]) for name, tensor in tensors.items()
        }

    def output_step(self, output: str) -> float | None:
        """Step of the grid that `output` lies on in the file; ``None`` when it is float.

        Raises:
            OutputNotFoundError: It is not an output of the model.
        """
        return self._step(self._file.before_dequantizing(self._output(output)))

    def layer_outputs(self, feeds: Mapping[str, Array]) -> dict[str, LayerOutput]:
        """What each layer that the file has returned, by its name, with a Relu merged with it.

        Raises:
            ConfigError, RangeError, NonFiniteError: `feeds` don't fit the placeholders.
        """
        tensors: dict[str, int] = {}
        for row in self._plan.rows:
            operator = find_operator(self._file, row.name, self._results(row.name))
            if operator is not None:
                joined = self._file.find(self._joined.get(row.name, ""))
                tensors[row.name] = result_of(self._file, operator) if joined is None else joined
        content = self._file.with_outputs(list(dict.fromkeys(tensors.values())))
        found = invoke(content, self._inputs(feeds))
        return {name: self._layer_output(name, t, found[t]) for name, t in tensors.items()}

    def _layer_output(self, layer: str, tensor: int, stored: Array) -> LayerOutput:
        value = self._file.dequantized(tensor, stored)
        if layer in self._channels_first and value.ndim == len(TO_NCHW):
            # The operators of LiteRT have the channels last.
            value = value.transpose(TO_NCHW)
        name = names.node_name(self._file.name(tensor))
        node = self._results_of_sums.get(name, name)
        step = self._step(tensor)
        return LayerOutput(node, value, step, None if step is None else self._ends(tensor))

    def executions(self) -> tuple[LayerExecution, ...]:
        """How each layer of the plan is computed, read from the file."""
        return tuple(
            layer_execution(self._file, row, self._results(row.name)) for row in self._plan.rows
        )

    def _results(self, layer: str) -> tuple[str, ...]:
        op = self._ops.get(layer)
        # A skip inside of a function body is called after both, and is no op of the graph.
        takers = [] if op is None else self._view.consumers(op.outputs[0])
        return (layer, *(op.name for op, _ in takers if op.type in _ACTIVATIONS))

    def _inputs(self, feeds: Mapping[str, Array]) -> dict[int, Array]:
        checked = checked_feeds(self._view.graph, feeds)
        for name, default in self._defaults.items():
            if not np.array_equal(checked.get(name, default), default):
                raise ConfigError(
                    f'feeds: the artifact holds the default of "{tensor_name(name)}" '
                    f"({np.array2string(default, threshold=8)}) and takes no other value for it"
                )
        values = {tensor_name(name): value for name, value in checked.items()}
        return {
            tensor: self._file.quantized(tensor, np.ascontiguousarray(values[name]))
            for name, tensor in self._file.inputs.items()
        }

    def _output(self, name: str) -> int:
        known = self._file.outputs
        if tensor_name(name) not in known:
            raise OutputNotFoundError(
                f'outputs: the artifact has no output "{name}"{closest(name, known)}; it has '
                f"{listed(known)}"
            )
        return known[tensor_name(name)]

    def _ends(self, tensor: int) -> tuple[float, float]:
        """Smallest and largest value on the grid of `tensor`."""
        codes = np.array([-128, 127], np.int8)
        low, high = self._file.dequantized(tensor, codes)
        return float(low), float(high)

    def _step(self, tensor: int) -> float | None:
        grid = self._file.grid(tensor)
        return (
            float(grid[0][0]) if grid is not None and self._file.dtype(tensor) == "int8" else None
        )


def _simulated_layers(source: ExportSource) -> tuple[SimulatedLayer, ...]:
    """The layers of the simulation; none where only weights are quantised."""
    if not isinstance(source.record, Record):
        return ()
    return simulation_of(source).layers
