"""Runs what the file holds: the graph of the simulation with every number out of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.graph import plan_graph
from graphquant_core.graph.frozen import import_frozen
from graphquant_core.runtime import Array, LayerExecution, LayerOutput
from graphquant_export import simulate, simulate_target
from graphquant_npz import NpzArtifact, NpzExporter


class NpzRuntime:
    """A stand-in for an engine: TensorFlow computes with the numbers of the file."""

    def __init__(self, artifact: NpzArtifact) -> None:
        source = artifact.source
        self._plan = plan_graph(import_frozen(source.model))
        self._simulated = simulate(source.model, source.outputs, source.record)
        with np.load(artifact.paths[0]) as file:
            self._arrays = dict(file)
        target = simulate_target(self._simulated, source.record, NpzExporter().rules)
        nodes = {node.name: node for node in target.graph_def.node}
        for value in target.values:
            scale = self._arrays[f"{value.name}/scale"]
            zero_point = self._arrays[f"{value.name}/zero_point"].astype(np.float32)
            nodes[value.name].attr["min"].f = scale * (-128 - zero_point)
            nodes[value.name].attr["max"].f = scale * (127 - zero_point)
        for layer in self._simulated.layers:
            scale_d = self._arrays[f"{layer.name}/scale_d"].astype(np.float32)
            offset_d = self._arrays[f"{layer.name}/offset_d"]
            nodes[layer.quantizer].attr["min"].f = scale_d * (-128 - offset_d)
            nodes[layer.quantizer].attr["max"].f = scale_d * (127 - offset_d)
            if layer.weight is None:
                continue
            codes = self._arrays[f"{layer.name}/weight_codes"]
            scale = self._arrays[f"{layer.name}/weight_scale"]
            weight = codes * scale.reshape(per_channel_shape(codes.shape, layer.weight_axes))
            nodes[layer.weight].attr["value"].tensor.CopyFrom(tf.make_tensor_proto(weight))
            if layer.bias is not None:
                bias = self._arrays[f"{layer.name}/bias_codes"] * (scale_d * scale)
                tensor = tf.make_tensor_proto(bias.astype(np.float32))
                nodes[layer.bias].attr["value"].tensor.CopyFrom(tensor)
        self._session = tf.compat.v1.Session(graph=import_frozen(target.graph_def))

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        fed = {f"{name}:0": value for name, value in feeds.items()}
        values = self._session.run([f"{name}:0" for name in outputs], fed)
        return dict(zip(outputs, values, strict=True))

    def output_step(self, output: str) -> float | None:
        return None  # outputs are floats

    def layer_outputs(self, feeds: Mapping[str, Array]) -> dict[str, LayerOutput]:
        results = {layer.name: layer.result for layer in self._simulated.layers}
        values = self.run(feeds, list(dict.fromkeys(results.values())))
        return {name: LayerOutput(tensor, values[tensor]) for name, tensor in results.items()}

    def executions(self) -> tuple[LayerExecution, ...]:
        rows = []
        for layer in self._plan.layers:
            held = f"{layer.name}/scale_d" in self._arrays
            execution, reason = ("int8", None) if held else ("float", "it is not in the record")
            rows.append(LayerExecution(layer.name, layer.op_type, layer.name, execution, reason))
        return tuple(rows)
