"""A folded model's weights at several widths, without training."""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen import import_frozen
from graphquant_core.plan import Plan
from graphquant_core.weight_record import WeightGrid, WeightRecord
from graphquant_tune.folded import FoldedModel
from graphquant_wq import quantize_frozen_weights
from graphquant_wq.frozen_weights import QuantizedWeights

Float32Array = npt.NDArray[np.float32]

WIDTHS = (8, 6, 4, 3, 2)
"""Bits that are tried, the widest first."""

PRUNED = 0.05
"""Share of zeros from which on a model counts as pruned, so that its zeros stay zero."""


@attrs.frozen(eq=False)
class Widths:
    """Weights of a model at several widths.

    Attributes:
        plan: Which layers are quantised, and why the others aren't.
        skipped: Names or patterns of layers that the user wants float.
        asymmetric: Whether a group has a minimum of its own: not in a pruned model.
        weights: By bits and layer: the weight on its grid.
    """

    plan: Plan
    skipped: tuple[str, ...]
    asymmetric: bool
    weights: Mapping[int, Mapping[str, Float32Array]] = attrs.field(repr=False)

    def values(self, model: FoldedModel, bits: Mapping[str, int]) -> dict[str, Float32Array]:
        """Values of the constants whose layers have `bits` bits."""
        return {
            layer.weight: self.weights[bits[layer.name]][layer.name]
            for layer in model.layers
            if layer.name in bits
        }


def quantise_at(model: FoldedModel, widths: Sequence[int], skip_layers: Sequence[str]) -> Widths:
    """The weights of `model` on the grids of least squared error, at each of `widths`.

    Raises:
        NoLayersError: No layer is left.
        UnknownNameError: A name in `skip_layers` is none of a layer.
    """
    asymmetric = not _is_pruned(model)
    weights, plan = {}, None
    for bits in widths:
        found = quantize_frozen_weights(
            model.graph_def,
            model.outputs,
            bits,
            asymmetric=asymmetric,
            skip_layers=list(skip_layers),
            keep_zeros=not asymmetric,
            uniform=True,
        )
        plan = found.plan
        weights[bits] = _weights(found.graph_def, model, [layer.name for layer in plan.layers])
    assert plan is not None
    return Widths(plan, tuple(skip_layers), asymmetric, weights)


def put_on_grids(
    model: FoldedModel, values: Mapping[str, Float32Array], bits: Mapping[str, int], widths: Widths
) -> QuantizedWeights:
    """The frozen graph with `values`, which lie on grids of `bits` bits; other layers are float."""
    return quantize_frozen_weights(
        model.with_values(values), model.outputs, **_exactly(bits, widths)
    )


def calibrated(
    model: FoldedModel,
    bits: Mapping[str, int],
    widths: Widths,
    samples: Mapping[str, npt.NDArray[Any]],
    progress: Callable[[int, int], object],
) -> QuantizedWeights:
    """`model` with weights of `bits` bits, rounded by GPTQ on `samples`: the best untrained."""
    found = quantize_frozen_weights(
        model.graph_def,
        model.outputs,
        samples=samples,
        progress=progress,
        **_exactly(bits, widths),
    )
    # In the constants that the model has: a file of a certain size has no room for others' names.
    return put_on_grids(model, model.values_in(found.graph_def), bits, widths)


def uniform_bits(model: FoldedModel, widths: Widths, bits: int) -> dict[str, int]:
    """`bits` for every layer, and 8 for those of few weights while that costs little."""
    found = quantize_frozen_weights(
        model.graph_def,
        model.outputs,
        bits,
        asymmetric=widths.asymmetric,
        skip_layers=list(widths.skipped),
        keep_zeros=not widths.asymmetric,
    )
    names = [layer.name for layer in found.plan.layers]
    return {name: 8 if name in found.kept_wide else bits for name in names}


def weight_record(bits: Mapping[str, int], widths: Widths) -> WeightRecord:
    """How the layers are quantised, as exporters take it."""
    return WeightRecord(
        {name: WeightGrid(number, widths.asymmetric) for name, number in bits.items()}
    )


def _exactly(bits: Mapping[str, int], widths: Widths) -> dict[str, Any]:
    """The keywords that quantise these layers alone, with these bits."""
    left = [layer.name for layer in widths.plan.layers if layer.name not in bits]
    return {
        "layer_bits": {glob.escape(name): number for name, number in bits.items()},
        "skip_layers": [*widths.skipped, *map(glob.escape, left)],
        "asymmetric": widths.asymmetric,
        "keep_zeros": not widths.asymmetric,
        "uniform": True,
    }


def _weights(
    graph_def: tf.compat.v1.GraphDef, model: FoldedModel, names: Sequence[str]
) -> dict[str, Float32Array]:
    graph = import_frozen(graph_def)
    ports = {layer.name: layer.layer.weight_port or 0 for layer in model.layers}
    return {
        name: tf.make_ndarray(
            graph.get_operation_by_name(name).inputs[ports[name]].op.get_attr("value")
        )
        for name in names
        if name in ports
    }


def _is_pruned(model: FoldedModel) -> bool:
    values = model.values()
    weights = [values[layer.weight] for layer in model.layers]
    # A channel that a batch norm takes out is not pruned: its zeros are all of a group.
    zeros = sum(int((weight == 0).sum()) for weight in weights)
    return zeros >= PRUNED * sum(weight.size for weight in weights)
