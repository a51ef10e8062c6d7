"""How each layer is computed, as a .tflite file says."""

from __future__ import annotations

from collections.abc import Collection

from graphquant_core.layer import Layer, Skip
from graphquant_core.listing import choices, either
from graphquant_core.runtime import LayerExecution
from graphquant_export.targets.litert import names
from graphquant_export.targets.litert.dequantized_weight import PREPARING
from graphquant_export.targets.litert.file import FileOperator, LiteRtFile
from graphquant_export.targets.litert.kinds import WEIGHT_PORTS
from graphquant_export.targets.litert.weights import KINDS

INTEGERS = ("int4", "int8")


def layer_execution(
    file: LiteRtFile, row: Layer | Skip, results: Collection[str]
) -> LayerExecution:
    """How `file` computes `row` of a plan.

    Args:
        file: The file.
        row: What the plan says of the op.
        results: Names that the result of a layer without weight may have in the file.
    """
    operator = find_operator(file, row.name, results)
    if operator is None:
        if isinstance(row, Skip):
            return LayerExecution(row.name, row.op_type, None, "float", row.reason)
        if row.op_type not in KINDS:
            no_kernel = f"LiteRT's int8 kernels here are those of {choices(KINDS)}"
            return LayerExecution(row.name, row.op_type, None, "float", no_kernel)
        lacking = f'the file has no tensor "{names.weight_name(row.name)}"'
        if row.weight_port is None:
            lacking = f"no operator of the file returns {either(map(repr, results))}"
        return LayerExecution(row.name, row.op_type, None, "missing", lacking)
    execution, reason = _execution(*_types(file, row.name, operator))
    return LayerExecution(
        row.name, row.op_type, file.name(result_of(file, operator)), execution, reason
    )


def find_operator(file: LiteRtFile, layer: str, results: Collection[str]) -> FileOperator | None:
    """The operator of `layer`: that which takes its weight, or which returns one of `results`."""
    weight = file.find(names.weight_name(layer))
    if weight is None:
        return next((op for op in file.operators if _returns(file, op, results)), None)
    found = next(file.takers(weight), None)
    while found is not None and found.kind in PREPARING:
        found = next(file.takers(found.outputs[0]), None)
    return found


def result_of(file: LiteRtFile, operator: FileOperator) -> int:
    """The tensor with what the layer of `operator` returns, which others may finish."""
    tensor = operator.outputs[0]
    while names.is_part(file.name(tensor)):
        tensor = next(file.takers(tensor)).outputs[0]
    return tensor


def _returns(file: LiteRtFile, operator: FileOperator, results: Collection[str]) -> bool:
    if operator.kind not in ("AVERAGE_POOL_2D", "MEAN"):
        return False
    return names.node_name(file.name(operator.outputs[0])) in results


def _types(file: LiteRtFile, layer: str, operator: FileOperator) -> tuple[str, str | None]:
    """Types of what the operator takes: of the activation and, as it is stored, of the weight."""
    ports = WEIGHT_PORTS.get(operator.kind)
    if ports is None:
        return file.dtype(operator.inputs[0]), None
    weight = file.find(names.weight_name(layer))
    stored = operator.inputs[ports.weight] if weight is None else weight
    return file.dtype(operator.inputs[ports.activation]), file.dtype(stored)


def _execution(activation: str, weight: str | None) -> tuple[str, str | None]:
    if weight is not None and weight not in INTEGERS:
        return "float", f"its weight is {weight}"
    if activation in INTEGERS:
        return weight or activation, None
    if weight is None:
        return "float", f"it takes {activation}"
    return f"{weight} weights", "it computes in float, with the weight dequantised"
