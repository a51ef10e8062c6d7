"""Runs ``<save_path>_quantized.pb`` in plain TensorFlow, and reads what its nodes say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph import plan_graph
from graphquant_core.graph.frozen import GraphDefEditor, cpu_session, import_frozen, load_graph_def
from graphquant_core.layer import Layer, Skip
from graphquant_core.runtime import LayerExecution, LayerOutput
from graphquant_export.targets.ascend.artifact import AscendArtifact
from graphquant_export.targets.ascend.average_pooling import float_fallback
from graphquant_export.targets.ascend.deploy import DeployedLayer

Array = npt.NDArray[Any]

MOVES = {"Pad": 0, "Split": 1}
"""Ops that move codes as they are, and the input that they move."""


class AscendRuntime:
    """`Runtime` of an Ascend export.

    TensorFlow computes the file by its own function library, which says what each of Ascend's
    ops does. Whether Ascend's compiler takes the file, it can't tell.

    Raises:
        ModelFileError: The file is missing or broken, or lacks an output; names it.
    """

    def __init__(self, artifact: AscendArtifact) -> None:
        self._artifact = artifact
        self._where = f"artifact ({artifact.quantized_path})"
        graph_def = load_graph_def(artifact.quantized_path, "artifact")
        try:
            self._graph = import_frozen(graph_def)
        except ModelFileError as error:
            raise ModelFileError(f"{self._where}: {error}") from error
        for output in artifact.source.outputs:
            if self._op(output) is None:
                raise ModelFileError(f'{self._where} has no node "{output}", which is an output')
        self._session = cpu_session(self._graph)

    def close(self) -> None:
        """Closes the session in which the file is run."""
        self._session.close()

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Value of each of `outputs`, as TensorFlow computes the file."""
        fed = {f"{name}:0": value for name, value in feeds.items() if self._op(name) is not None}
        try:
            values = self._session.run([f"{name}:0" for name in outputs], fed)
        except tf.errors.OpError as error:
            raise ModelFileError(f"{self._where} cannot be run: {error.message}") from error
        return dict(zip(outputs, map(np.asarray, values), strict=True))

    def output_step(self, output: str) -> float | None:  # noqa: ARG002 the same for every output
        """``None``: outputs are dequantised in the file."""
        return None

    def layer_outputs(self, feeds: Mapping[str, Array]) -> dict[str, LayerOutput]:
        """What the AscendDequant of each layer returned; float32, without step."""
        shown = [layer for layer in self._artifact.layers if self._op(layer.dequant) is not None]
        values = self.run(feeds, list(dict.fromkeys(layer.dequant for layer in shown)))
        return {layer.name: LayerOutput(layer.result, values[layer.dequant]) for layer in shown}

    def executions(self) -> tuple[LayerExecution, ...]:
        """How the file computes each layer of the frozen graph's plan."""
        source = self._artifact.source
        graph = import_frozen(GraphDefEditor(source.model).graph_def(source.outputs))
        deployed = {layer.name: layer for layer in self._artifact.layers}
        return tuple(self._execution(row, deployed.get(row.name)) for row in plan_graph(graph).rows)

    def _execution(self, row: Layer | Skip, layer: DeployedLayer | None) -> LayerExecution:
        node = row.name if layer is None else layer.node
        op = self._op(node)
        if layer is None or isinstance(row, Skip):
            reason = row.reason if isinstance(row, Skip) else "the record has no entry for it"
            name = None if op is None else node
            return LayerExecution(row.name, row.op_type, name, "float", reason)
        if op is None or op.type != row.op_type:
            found = "no such node" if op is None else f"a {op.type} in its place"
            reason = f'the file has {found}: "{node}" ({row.op_type})'
            return LayerExecution(row.name, row.op_type, None, "missing", reason)
        if self._op(layer.dequant) is None:
            reason = f'the file has no node "{layer.dequant}"'
            return LayerExecution(row.name, row.op_type, None, "missing", reason)
        return LayerExecution(row.name, row.op_type, node, *_read_types(op, row))

    def _op(self, name: str) -> tf.Operation | None:
        try:
            return self._graph.get_operation_by_name(name)
        except KeyError:
            return None


def _read_types(op: tf.Operation, row: Layer) -> tuple[str, str | None]:
    """(execution, reason) of the deployed `op`."""
    bits = _activation_bits(op.inputs[row.activation_port])
    if bits is None:
        return "float", "its activation does not come from an AscendQuant"
    if row.weight_port is not None:
        weight = op.inputs[row.weight_port].op
        if weight.type != "AscendWeightQuant":
            return "float", "its weight does not come from an AscendWeightQuant"
        if weight.inputs[0].dtype != tf.int8:
            return "float", f"its weight is {weight.inputs[0].dtype.name}"
    fallback = float_fallback(op) if op.type == "AvgPool" else None
    reason = f"Ascend's compiler is known to compute it in float: {fallback}" if fallback else None
    return f"int{bits}", reason


def _activation_bits(tensor: tf.Tensor) -> int | None:
    while tensor.op.type in MOVES:
        tensor = tensor.op.inputs[MOVES[tensor.op.type]]
    return int(tensor.op.get_attr("quant_bits")) if tensor.op.type == "AscendQuant" else None
