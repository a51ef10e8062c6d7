"""Which ops of an .mnn file the layers of a record became."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import numpy.typing as npt

from graphquant_core.exceptions import UnsupportedLayerError
from graphquant_core.graph import GraphView
from graphquant_core.suggestions import closest
from graphquant_export.quantized.weight_codes import MnnWeight
from graphquant_export.quantized.weight_groups import mnn_grouping
from graphquant_export.targets.mnn.int8.activation_grid import ActivationGrid
from graphquant_export.targets.mnn.int8.planned_layers import FLOAT, INT8, PlannedLayer
from graphquant_export.targets.mnn.model_file import MnnLayer
from graphquant_export.targets.mnn.op_names import mnn_op_names

RELU6_END = 6.0


@attrs.frozen(eq=False)
class LayerPart:
    """A layer of the record, or one group of a grouped convolution, as MNN stores it.

    Attributes:
        planned: The layer.
        stored: The layer in the .mnn file.
        codes: int8 ``[G, n]``, one group of weights a row, in MNN's order.
        scale: float32 ``[G]``, the scale of each row, or ``[G, n]`` where some row has several.
        input: Grid of what it takes, which a Relu6 that is merged with the layer before it ends;
            ``None`` unless it is int8.
        output: Grid of its result, which a merged Relu6 ends; ``None`` unless it is int8.
        first: Which row of the layer is the first of the part.
    """

    planned: PlannedLayer
    stored: MnnLayer
    codes: npt.NDArray[np.int8]
    scale: npt.NDArray[np.float32]
    input: ActivationGrid | None
    output: ActivationGrid | None
    first: int = 0

    @property
    def where(self) -> str:
        """How messages call it."""
        return f'layer "{self.planned.simulated.name}" ("{self.stored.name}" in MNN)'


def find_parts(
    view: GraphView, layers: tuple[PlannedLayer, ...], stored: Mapping[str, MnnLayer]
) -> tuple[LayerPart, ...]:
    """Every part of the layers that aren't float, in the order of `layers`.

    Args:
        view: View of the graph that was converted.
        layers: The layers of the record.
        stored: The layers of the .mnn file, by name.

    Raises:
        UnsupportedLayerError: A layer is not in the file; names it.
    """
    parts: list[LayerPart] = []
    for planned in layers:
        if planned.execution == FLOAT or planned.layer is None:
            continue
        names = mnn_op_names(view, planned.layer)
        codes, scale = _rows(planned)
        count = len(codes) // len(names)
        for index, name in enumerate(names):
            if name not in stored:
                raise UnsupportedLayerError(
                    f'layer "{planned.simulated.name}" ("{name}" in MNN) is not in the MNN '
                    f"model{closest(name, stored)}"
                )
            rows = slice(index * count, (index + 1) * count)
            output = planned.output if planned.execution == INT8 else None
            if output is not None and stored[name].relu6:
                output = output.ending_at(RELU6_END)
            part = codes[rows], scale[rows], planned.input, output
            parts.append(LayerPart(planned, stored[name], *part, first=rows.start))
    return _with_common_ends(parts)


def weights_of_floats(parts: Sequence[LayerPart]) -> dict[str, MnnWeight]:
    """The record's weights of the parts that compute with floats, by their names in MNN.

    Not those with several scales in a row, of which MNN keeps one.
    """
    return {
        part.stored.name: MnnWeight(part.codes, part.scale, None, 8)
        for part in parts
        if part.output is None and part.scale.ndim == 1
    }


def _with_common_ends(parts: Sequence[LayerPart]) -> tuple[LayerPart, ...]:
    """`parts`, what one returns and another takes on one grid: MNN keeps one for the tensor."""
    results = {part.stored.tensors[1]: part.output for part in parts if part.output is not None}

    def taken(part: LayerPart) -> ActivationGrid | None:
        given = results.get(part.stored.tensors[0])
        if part.input is None or given is None:
            return part.input
        same = (given.scale, given.zero) == (part.input.scale, part.input.zero)
        return given if same else part.input

    return tuple(attrs.evolve(part, input=taken(part)) for part in parts)


def _rows(planned: PlannedLayer) -> tuple[npt.NDArray[np.int8], npt.NDArray[np.float32]]:
    layer, simulated = planned.layer, planned.simulated
    assert layer is not None
    assert simulated.weight_codes is not None
    assert simulated.weight_scale is not None
    grouping = mnn_grouping(layer)
    shape = [
        size if axis in simulated.weight_axes else 1
        for axis, size in enumerate(simulated.weight_codes.shape)
    ]
    full = np.broadcast_to(simulated.weight_scale.reshape(shape), simulated.weight_codes.shape)
    scale = grouping.rows(full.astype(np.float32))
    codes = grouping.rows(simulated.weight_codes.astype(np.float32)).astype(np.int8)
    return codes, scale[:, 0] if (scale == scale[:, :1]).all() else scale
