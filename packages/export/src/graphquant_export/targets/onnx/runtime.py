"""Runs an exported ONNX file in ONNX Runtime, and reads how the file computes each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import onnx

from graphquant_core.exceptions import ModelFileError, OutputNotFoundError
from graphquant_core.graph.frozen import tensor_name
from graphquant_core.layer import Layer, Skip
from graphquant_core.record import Record
from graphquant_core.runtime import LayerExecution, LayerOutput
from graphquant_core.suggestions import closest
from graphquant_export.inputs.feeds import checked_feeds, default_feeds
from graphquant_export.targets.onnx.artifact import OnnxArtifact
from graphquant_export.targets.onnx.kernels import integer_kernel
from graphquant_export.targets.onnx.layer_results import LayerResult, layer_result
from graphquant_export.targets.onnx.model_file import ModelView, read_model
from graphquant_export.targets.onnx.planned import planned
from graphquant_export.targets.onnx.sessions import Session
from graphquant_export.targets.onnx.shown_layers import ShownLayers

Array = npt.NDArray[Any]


class OnnxRuntime:
    """`Runtime` of an ONNX export, in ONNX Runtime on the CPU.

    Raises:
        ModelFileError: The file is missing or broken, or lacks an output; names it.
        MissingDependencyError: The wheel onnxruntime is not installed.
    """

    def __init__(self, artifact: OnnxArtifact) -> None:
        self._source = artifact.source
        self._where = f"artifact ({artifact.model_path})"
        self._model = read_model(artifact.model_path)
        self._view = ModelView(self._model)
        self._inputs = [value.name for value in self._model.graph.input]
        self._outputs = [value.name for value in self._model.graph.output]
        for output in self._source.outputs:
            self._check_output(output)
        self._session = Session(self._model, self._where)
        self._planned = planned(self._source)
        self._defaults = default_feeds(self._planned.graph)
        self._shown: ShownLayers | None = None

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Value of each of `outputs`, float32 where the model has floats, in TensorFlow's layout.

        Raises:
            OutputNotFoundError: An output is not in the file.
            ConfigError, RangeError, NonFiniteError: as `checked_feeds`.
            ModelFileError: ONNX Runtime can't compute it.
        """
        for output in outputs:
            self._check_output(output)
        values = self._session.run(outputs, self._fed(feeds))
        return dict(zip(outputs, values, strict=True))

    def output_step(self, output: str) -> float | None:
        """Step of the grid that `output` lies on in the file; ``None`` when it is float.

        Raises:
            OutputNotFoundError: It is not in the file.
        """
        self._check_output(output)
        return self._view.step(output)

    def layer_outputs(self, feeds: Mapping[str, Array]) -> dict[str, LayerOutput]:
        """What each quantised layer returned, by name, in the graph's order.

        Where a kernel of ONNX Runtime rounds a layer's sums, that is what is shown: the values are
        of the run that gives the outputs.

        Raises: as `run`.
        """
        if self._shown is None:
            self._shown = ShownLayers(
                self._model, self._session.optimized, self._layer_results(), self._where
            )
        return self._shown.run(self._fed(feeds))

    def executions(self) -> tuple[LayerExecution, ...]:
        """How the file computes each layer of the frozen graph's plan.

        The reason says when ONNX Runtime sums a layer in float although the file's integers go
        into it: its kernels for integers also round what comes out.
        """
        return tuple(self._execution(row) for row in self._planned.rows)

    def kernels(self) -> dict[str, str]:
        """Type of the op that ONNX Runtime runs each quantised layer with, by its name.

        ``QLinearConv``, ``QGemm`` … sum integers; ``Conv``, ``FusedConv`` … sum floats.
        """
        optimized = ModelView(self._session.optimized)
        return {
            name: (integer_kernel(optimized, name) or self._view.nodes[name]).op_type
            for name in self._planned.layers
            if name in self._view.nodes
        }

    def _execution(self, row: Layer | Skip) -> LayerExecution:
        node = self._view.nodes.get(row.name)
        name = None if node is None else row.name
        if isinstance(row, Skip):
            return LayerExecution(row.name, row.op_type, name, "float", row.reason)
        if row.name not in self._planned.layers:
            reason = "the record has no entry for it"
            return LayerExecution(row.name, row.op_type, name, "float", reason)
        if node is None:
            reason = f'the file has no node "{row.name}"{closest(row.name, self._view.nodes)}'
            return LayerExecution(row.name, row.op_type, None, "missing", reason)
        return LayerExecution(row.name, row.op_type, row.name, *self._read(row, node))

    def _read(self, row: Layer, node: onnx.NodeProto) -> tuple[str, str | None]:
        activation = self._view.activation_bits(node)
        weight = activation if row.weight_port is None else self._view.weight_bits(node)
        not_quantized = "its input is not quantised"
        if weight is None:
            return "float", not_quantized if row.weight_port is None else "its weight is float"
        if activation is None:
            expected = not isinstance(self._source.record, Record)
            return f"int{weight} weights", None if expected else not_quantized
        if integer_kernel(ModelView(self._session.optimized), row.name) is None:
            version = self._session.version
            return f"int{weight}", f"ONNX Runtime {version} sums it in float ({node.op_type})"
        return f"int{weight}", None

    def _layer_results(self) -> dict[str, LayerResult]:
        """The result of each quantised layer that the file has."""
        results = {}
        for layer in self._planned.layers.values():
            node = self._view.nodes.get(layer.result.name if layer.grouped else layer.name)
            if node is not None:
                results[layer.name] = layer_result(self._view, node, layer)
        return results

    def _fed(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        checked = self._defaults | checked_feeds(self._planned.graph, feeds)
        named = {tensor_name(name): value for name, value in checked.items()}
        missing = [name for name in self._inputs if name not in named]
        if missing:
            raise ModelFileError(
                f'{self._where} has the input "{missing[0]}", which the model it was made of lacks'
            )
        return {name: named[name] for name in self._inputs}

    def _check_output(self, output: str) -> None:
        if output not in self._outputs:
            raise OutputNotFoundError(
                f'{self._where} has no output "{output}"{closest(output, self._outputs)}'
            )
