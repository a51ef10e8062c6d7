"""Export to ONNX: a frozen graph and its record become one model with integers behind QDQ."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_core.exporter import ExportSource
from graphquant_core.files import write_whole
from graphquant_core.listing import brief_repr, listed_names
from graphquant_core.record import Record
from graphquant_core.value_grid import ValueGrid
from graphquant_export.quantized.round_values import ValueQuantizer
from graphquant_export.quantized.simulate import (
    SimulatedGraph,
    SimulatedLayer,
    simulate,
    simulation_of,
    source_of,
)
from graphquant_export.quantized.target_simulation import TargetSimulation, simulate_target
from graphquant_export.targets.onnx.activation_quantizers import quantize_before_activations
from graphquant_export.targets.onnx.artifact import OnnxArtifact
from graphquant_export.targets.onnx.constants import StoredConstant, groups_along
from graphquant_export.targets.onnx.conversion import Quantizer
from graphquant_export.targets.onnx.model import checked_opset, quantized_model
from graphquant_export.targets.onnx.model_file import opset_of, read_model
from graphquant_export.targets.onnx.moved_results import round_moved_results
from graphquant_export.targets.onnx.sessions import INT8_OPSET
from graphquant_export.targets.rules import ONNX
from graphquant_export.targets.save_path import ENDINGS, paths_of, writable_paths

logger = logging.getLogger(__name__)

DEFAULT_OPSET = 17


def export_onnx(
    model: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    record: Record,
    save_path: str | os.PathLike[str],
    *,
    calibration: Mapping[str, npt.ArrayLike] | None = None,
    opset: int = DEFAULT_OPSET,
    activations: str = "int8",
) -> OnnxArtifact:
    """Writes ``<save_path>.onnx``: int8 weights and activations, int32 biases.

    Inputs and outputs have the names and the layout that they have in TensorFlow.

    Args:
        model: Frozen graph: the one that was trained, with its fake quantisers, or a float one.
        outputs: Names of the ops that are the model's outputs.
        record: Scales and offsets of the layers.
        save_path: Start of the name of the file.
        calibration: Samples for each placeholder, by name. What comes out of a layer and goes
            into no quantised one is then quantised with the range it has on this batch, so that
            the layer runs in integers. Without it the numbers are those of the training graph.
        opset: Opset of the model, 13 or later.
        activations: ``"int8"``, with the record's offset as zero point, or ``"uint8"``, with every
            code and zero point 128 higher and the same values. ONNX Runtime sums uint8 on x86
            and turns int8 into it where it can; it can't where several ops take one tensor.

    Raises:
        OutputNotFoundError: An output is not in the model.
        RecordError: The record doesn't belong to the model.
        BiasOverflowError: A bias doesn't fit into int32.
        UnsupportedLayerError: ONNX has no op for a layer, or tf2onnx doesn't convert it.
        ModelFileError: The model is not frozen, was exported before, or can't be converted.
        ConfigError: `opset` or `activations` is none that can be written, or `calibration`
            doesn't fit.
        FileWriteError: The file can't be written. After any error an older one is as it was.
    """
    (path,) = writable_paths(save_path, *ENDINGS["onnx"])
    opset = checked_opset(opset)
    if activations not in ("int8", "uint8"):
        raise ConfigError(f'activations ({brief_repr(activations)}) must be "int8" or "uint8"')
    if opset >= INT8_OPSET and activations == "int8":
        logger.warning(
            'opset (%d) with activations ("int8"): ONNX Runtime for x86 refuses many such models '
            "without graphquant_export.targets.onnx.session_config; take an earlier opset or "
            '"uint8"',
            opset,
        )
    simulated = simulate(model, outputs, record)
    target = simulate_target(simulated, record, ONNX, calibration)
    simulated.model.warn_of_floats(logger, "ONNX")
    _warn_of_float_results(simulated, target)
    graph_def, moved = round_moved_results(
        target.graph_def, simulated.outputs, _results(simulated, target)
    )
    known = _quantizers(simulated, (*target.values, *moved), activations == "uint8")
    graph_def, quantizers = quantize_before_activations(graph_def, simulated, known)
    content = quantized_model(
        graph_def,
        simulated.outputs,
        _constants(simulated.layers),
        opset,
        quantizers=quantizers,
        without_weight={
            layer.node: layer.name for layer in simulated.layers if layer.weight is None
        },
    )
    write_whole(path, content)
    logger.info("The model is saved in %s", path)
    return OnnxArtifact(path, opset, source_of(simulated, model, target.record))


def open_onnx(save_path: str | os.PathLike[str], source: ExportSource) -> OnnxArtifact:
    """The artifact that `export_onnx` wrote to `save_path` of `source`.

    Raises:
        ModelFileError: The file is missing, or is no ONNX model; names it.
        OutputNotFoundError, RecordError, BiasOverflowError: as `export_onnx`.
    """
    (path,) = paths_of(save_path, *ENDINGS["onnx"])
    opset = opset_of(read_model(path))
    if isinstance(source.record, Record):
        simulated = simulation_of(source)
        target = simulate_target(simulated, source.record, ONNX)
        source = source_of(simulated, source.model, target.record)
    return OnnxArtifact(path, opset, source)


def _quantizers(
    simulated: SimulatedGraph, values: Iterable[ValueQuantizer], unsigned: bool
) -> dict[str, Quantizer]:
    """What each fake quantiser becomes, by the name of its node: those of layers, and `values`."""
    grids = {layer.quantizer: layer.grid for layer in simulated.layers}
    grids |= {value.name: value.grid for value in values}
    return {
        name: Quantizer(_scope(name), grid.scale, grid.zero_point, unsigned)
        for name, grid in grids.items()
    }


def _results(simulated: SimulatedGraph, target: TargetSimulation) -> dict[str, ValueGrid]:
    """Grid of what each integer layer returns, by the name of its node in the simulation."""
    nodes = {exact: node for node, exact in simulated.exact.results.items()}
    results = target.results.values()
    return {nodes.get(result.node, result.node): result.grid for result in results}


def _scope(quantizer: str) -> str:
    """Start of the names of what a quantiser becomes: that of an output has no scope of its own."""
    scope, _, name = quantizer.rpartition("/")
    return scope if name in ("AscendQuant", "FakeQuant") else f"{quantizer}/result_quant"


def _warn_of_float_results(simulated: SimulatedGraph, target: TargetSimulation) -> None:
    lacking = [
        layer.name
        for layer in simulated.layers
        if layer.op_type in ONNX.results and layer.name not in target.results
    ]
    if lacking:
        logger.warning(
            "the record has no grid of what the layers %s return: runtimes sum them in float; give "
            "calibration samples that show their ranges, or train for onnx",
            listed_names(lacking),
        )


def _constants(layers: Sequence[SimulatedLayer]) -> list[StoredConstant]:
    found: list[StoredConstant] = []
    for layer in layers:
        if layer.weight is not None:
            codes, scale = layer.weight_codes, layer.weight_scale
            assert codes is not None
            assert scale is not None
            groups = groups_along(codes.shape, layer.weight_axes, len(scale))
            found.append(StoredConstant(layer.name, "weight", layer.weight, codes, scale, groups))
        if layer.bias is not None and layer.bias_codes is not None:
            groups = groups_along(layer.bias_codes.shape, (0,), len(layer.scale))
            found.append(
                StoredConstant(
                    layer.name, "bias", layer.bias, layer.bias_codes, layer.scale, groups
                )
            )
    return found
