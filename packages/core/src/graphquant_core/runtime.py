"""The contract of a runtime: what runs an exported artifact, and reads back what it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import attrs
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@attrs.frozen
class LayerExecution:
    """How an artifact computes one layer, as its file says.

    Attributes:
        layer: Name of the TensorFlow op.
        op_type: Type of the TensorFlow op.
        runtime_name: Name of what computes it in the artifact; ``None`` when nothing does.
        execution: ``"int8"``, ``"int4"`` … when both inputs are integers of that width,
            ``"int8 weights"`` … when only the weight is, ``"float"``, or ``"missing"``.
        reason: Why it isn't an integer layer, or what else a reader should know.
    """

    layer: str
    op_type: str
    runtime_name: str | None
    execution: str
    reason: str | None = None


@attrs.frozen(eq=False)
class LayerOutput:
    """What an artifact computed for one layer.

    Attributes:
        tensor: Name of the node of the simulation with the same value: the layer's own result,
            or that of an activation function that the runtime merged with it.
        value: float32 in TensorFlow's layout; dequantised where the artifact holds integers.
        step: Step of its grid in the artifact; ``None`` when it is float there.
        ends: Smallest and largest value on that grid; ``None`` when it is float, or unknown.
    """

    tensor: str
    value: npt.NDArray[np.float32]
    step: float | None = None
    ends: tuple[float, float] | None = None


class Runtime(Protocol):
    """Runs an artifact where it is deployed, and reads back what it holds."""

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str]) -> dict[str, Array]:
        """Value of each of `outputs`, float32, in TensorFlow's layout.

        Args:
            feeds: Value of each placeholder, by its name in TensorFlow.
            outputs: Names of TensorFlow ops that are outputs of the model.
        """
        ...

    def output_step(self, output: str) -> float | None:
        """Step of the grid that `output` lies on in the artifact; ``None`` when it is float."""
        ...

    def layer_outputs(self, feeds: Mapping[str, Array]) -> dict[str, LayerOutput]:
        """What each quantised layer returned, by the name of the layer, in the graph's order."""
        ...

    def executions(self) -> tuple[LayerExecution, ...]:
        """How each layer of the plan is computed, read from the artifact's file."""
        ...


@runtime_checkable
class Closing(Protocol):
    """What a `Runtime` is besides when it holds something open, such as a session."""

    def close(self) -> None:
        """Gives it back; `verify` calls it when it is through."""
        ...
