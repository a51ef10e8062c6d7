"""Comparison of every quantised layer's result, batch by batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt

from graphquant_core.exceptions import ModelFileError
from graphquant_core.graph.frozen import tensor_name
from graphquant_core.runtime import LayerExecution, LayerOutput
from graphquant_export.inputs.batches import Batch
from graphquant_export.verification.checks import LayerCheck
from graphquant_export.verification.comparison import Comparing
from graphquant_export.verification.cut_off import CutOff
from graphquant_export.verification.own_inputs import OwnInputs
from graphquant_export.verification.truths import Truths

Array = npt.NDArray[Any]


class LayersComparing:
    """Adds up a `LayerCheck` for each quantised layer from batches.

    Args:
        truths: What the layers are compared with.
        executions: How the artifact computes each layer.
        outputs: Names of the model's outputs.
    """

    def __init__(
        self, truths: Truths, executions: Sequence[LayerExecution], outputs: Sequence[str]
    ) -> None:
        self._truths = truths
        self._outputs = outputs
        self._executions = {row.layer: row for row in executions}
        self._compared: dict[str, tuple[str, Comparing, Comparing]] = {}
        self._cut_off: dict[str, CutOff] = {}
        self._own_inputs: OwnInputs | None = None

    def close(self) -> None:
        """Closes what layers were run in."""
        if self._own_inputs is not None:
            self._own_inputs.close()

    def add(
        self, found: Mapping[str, LayerOutput], batch: Batch
    ) -> tuple[dict[str, Array], dict[str, Array]]:
        """Adds what the runtime computed for each layer.

        Returns: each output by its name, exact, and as it should be for what the runtime returned
        for the layers; neither when no layer is shown.

        Raises:
            ModelFileError: The runtime names a tensor that the simulation doesn't have, or its
                shape is another.
        """
        if not found:
            return {}, {}
        nodes = {layer: self._node(layer, output.tensor) for layer, output in found.items()}
        taken = {name: self._truths.taken[name] for name in found if name in self._truths.taken}
        tensors = [tensor for several in taken.values() for tensor in several]
        if self._own_inputs is None:
            announced = [*self._outputs, *tensors]
            self._own_inputs = OwnInputs(self._truths.exact, set(nodes.values()), announced)
        wanted = [*nodes.values(), *self._outputs]
        exact = self._own_inputs.run([*wanted, *tensors], batch.feeds)
        for name, several in taken.items():
            for tensor in several:
                grid = self._truths.results[name].grid
                self._cut_off.setdefault(name, CutOff(grid)).add(exact[tensor])
        for layer, output in found.items():
            if layer not in self._compared:
                self._compared[layer] = self._start(layer, output)
            _, whole, _ = self._compared[layer]
            whole.add(output.value, exact[nodes[layer]])
        outputs = {name: exact[name] for name in self._outputs}
        returned = {nodes[layer]: output.value for layer, output in found.items()}
        exact = self._own_inputs.run(wanted, batch.feeds, returned)
        for layer, output in found.items():
            self._compared[layer][2].add(output.value, exact[nodes[layer]])
        return outputs, {name: exact[name] for name in self._outputs}

    def _start(self, layer: str, output: LayerOutput) -> tuple[str, Comparing, Comparing]:
        planned = self._truths.results.get(layer)
        # The grid that was planned: one that the artifact has instead is a difference.
        ends = output.ends if planned is None else planned.grid.ends
        name = f'{output.tensor}" of layer "{layer}'
        whole, own = (Comparing(name, output.step, ends) for _ in range(2))
        return output.tensor, whole, own

    def _node(self, layer: str, tensor: str) -> str:
        name = tensor_name(tensor)
        node = self._truths.nodes.get(name, name)
        if not self._truths.exact.has(node):
            raise ModelFileError(
                f'layer "{layer}": the runtime gives the value of "{name}", which is not in the '
                f"{self._truths.exact_name}"
            )
        return node

    def result(self) -> tuple[LayerCheck, ...]:
        """The check of each quantised layer, in the order of the graph."""
        types = self._truths.op_types()
        names = self._truths.layers or [name for name in types if name in self._compared]
        return tuple(self._check(name, types[name]) for name in names)

    def _check(self, layer: str, op_type: str) -> LayerCheck:
        row = self._executions.get(layer)
        execution = "missing" if row is None else row.execution
        reason = None if row is None else row.reason
        if layer not in self._compared:
            reason = reason or "the artifact does not show its result"
            return LayerCheck(layer, op_type, None, execution, None, None, reason)
        tensor, whole, own = self._compared[layer]
        cut_off = self._cut_off[layer].share() if layer in self._cut_off else None
        return LayerCheck(
            layer, op_type, tensor, execution, own.result(), whole.result(), reason, cut_off
        )
