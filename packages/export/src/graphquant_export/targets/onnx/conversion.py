"""From a TensorFlow graph to ONNX by tf2onnx, with opaque nodes in the place of the weights.

tf2onnx folds factors and batch norms into constant weights, and merges constants that are equal.
A quantised weight must be left alone, so that it is a node without a value while the graph is
optimised, one whose type nothing knows, with a number of its own, and an input after that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt
import onnx
import tensorflow as tf
from tf2onnx import optimizer, tfonnx
from tf2onnx.optimizer.const_fold_optimizer import ConstFoldOptimizer
from tf2onnx.optimizer.transpose_optimizer import TransposeOptimizer

from graphquant_core.exceptions import GraphQuantError, ModelFileError, UnsupportedLayerError
from graphquant_core.graph.frozen import GraphDefEditor, import_frozen
from graphquant_core.graph.frozen.node_def import const_node
from graphquant_export.inputs.branches.switches import SWITCHES
from graphquant_export.inputs.branches.undecided import refuse_conditions
from graphquant_export.rewriting import rewrite
from graphquant_export.rewriting.erfc import ERFC
from graphquant_export.targets.onnx.constants import Found, Tags
from graphquant_export.targets.onnx.padded_pooling import keep_zeros_around_poolings
from graphquant_export.targets.onnx.transposed_padding import pad_behind

_WEIGHT_NODE = "GraphquantWeight"
HIGHEST_CONVERTED_OPSET = 18
"""tf2onnx writes no later one; onnx's own version converter goes on from there."""

_LEFT_OUT = ("merge_duplication", "q_dq_optimizer")
"""The first keeps one of two equal nodes at random; the second moves DequantizeLinear away from
QuantizeLinear, and ONNX Runtime then doesn't match the two."""
_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)

_CONDITIONS = SWITCHES | {"Merge", "RefMerge"}

_RULES = (ERFC,)
"""What tf2onnx hasn't, in ops that it has."""


@attrs.frozen
class Quantizer:
    """What a FakeQuantWithMinMaxArgs becomes: q = round(x / scale) + zero_point.

    Attributes:
        scope: Start of the names of its nodes.
        scale: A float32 value.
        offset: Integer that stands for 0.0 in int8, -128 to 127.
        unsigned: Whether the file has uint8, every code 128 higher.
    """

    scope: str
    scale: float
    offset: int
    unsigned: bool = False

    @property
    def zero_point(self) -> npt.NDArray[Any]:
        """int8 or uint8 ``[]``: the code of 0.0 in the file."""
        return (
            np.array(self.offset + 128, np.uint8)
            if self.unsigned
            else np.array(self.offset, np.int8)
        )


@attrs.frozen(eq=False)
class Converted:
    """What a conversion gave.

    Attributes:
        model: The model, with an input for each weight and the tags of the biases.
        weights: Which weight each of these inputs is, by its name.
    """

    model: onnx.ModelProto
    weights: dict[str, Found]


def convert(
    graph_def: tf.compat.v1.GraphDef,
    outputs: Sequence[str],
    tags: Tags,
    quantizers: Mapping[str, Quantizer],
    opset: int,
) -> Converted:
    """`graph_def` in ONNX, its inputs and outputs named as tensors (``"x:0"``).

    Args:
        graph_def: A float graph with fake quantisers.
        outputs: Names of the ops that are its outputs.
        tags: Tags for its constants that are stored as integers.
        quantizers: What each of its fake quantisers becomes, by name.
        opset: 13 to `HIGHEST_CONVERTED_OPSET`.

    Raises:
        UnsupportedLayerError: tf2onnx can't convert an op; names it.
        ModelFileError: tf2onnx can't convert the graph.
    """
    tagged = _with_values(rewrite(graph_def, outputs, _RULES), tags.values())
    inputs = [f"{node.name}:0" for node in tagged.node if node.op.startswith("Placeholder")]
    failures = _Failures()
    logger = logging.getLogger("tf2onnx.tfonnx")
    logger.addHandler(failures)
    try:
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(tagged, name="")
            converted = tfonnx.process_tf_graph(
                graph,
                opset=opset,
                custom_rewriter=[_Rewriter(quantizers)],
                input_names=inputs,
                output_names=[f"{name}:0" for name in outputs],
            )
            _check_converted(converted, failures, graph_def, opset)
            pad_behind(converted)
            converted = optimizer.optimize_graph(converted, optimizers={"fold": ConstFoldOptimizer})
            weights = _hide_weights(converted, tags)
            converted = optimizer.optimize_graph(converted, optimizers=_passes())
            model: onnx.ModelProto = converted.make_model("")
    except GraphQuantError:
        raise
    except _FAILURES as error:
        failures.check()
        raise ModelFileError(f"tf2onnx cannot convert the model: {error!r}") from error
    finally:
        logger.removeHandler(failures)
    keep_zeros_around_poolings(model)
    return Converted(model, _make_inputs(model, weights))


def _make_inputs(model: onnx.ModelProto, weights: Sequence[Found]) -> dict[str, Found]:
    """Puts inputs in the place of the hidden weights: every tool knows how to pass these by."""
    inputs: dict[str, Found] = {}
    for node in [node for node in model.graph.node if node.op_type == _WEIGHT_NODE]:
        weight = weights[onnx.helper.get_attribute_value(node.attribute[0])]
        inputs[node.output[0]] = weight
        model.graph.input.append(
            onnx.helper.make_tensor_value_info(
                node.output[0], onnx.TensorProto.FLOAT, weight.positions.shape
            )
        )
        model.graph.node.remove(node)
    return inputs


def _passes() -> dict[str, Any]:
    every = optimizer._get_optimizers()  # noqa: SLF001
    kept = {name: step for name, step in every.items() if name not in _LEFT_OUT}
    return {**kept, "optimize_transpose": _Transposes}


class _Transposes(TransposeOptimizer):  # type: ignore[misc]
    """Leaves a Transpose over axes of length 1 what it is, which ONNX Runtime copies as it stands.

    tf2onnx makes a Reshape of it, to a shape that its own moves of Transposes may have left behind:
    that of x * x behind a convolution is still that of the result in TensorFlow's layout.
    """

    def post_optimize_action(self) -> None:
        """Nothing."""


def _with_values(
    graph_def: tf.compat.v1.GraphDef, values: Mapping[str, npt.NDArray[np.float32]]
) -> tf.compat.v1.GraphDef:
    editor = GraphDefEditor(graph_def)
    for name, value in values.items():
        editor.replace(const_node(name, value))
    return editor.graph_def([node.name for node in graph_def.node])


class _Rewriter:
    """Puts QuantizeLinear -> DequantizeLinear in the place of each fake quantiser."""

    def __init__(self, quantizers: Mapping[str, Quantizer]) -> None:
        self._quantizers = quantizers
        self.__name__ = "rewrite_fake_quantizers"

    def __call__(self, graph: Any, _: Any) -> Any:
        for node in list(graph.get_nodes()):
            quantizer = self._quantizers.get(node.name)
            if quantizer is not None:
                _replace_fake_quantizer(graph, node, quantizer)
        return graph.get_nodes()


def _replace_fake_quantizer(graph: Any, node: Any, quantizer: Quantizer) -> None:
    scope = quantizer.scope
    scale = graph.make_const(f"{scope}/scale", np.array(quantizer.scale, np.float32))
    zero_point = graph.make_const(f"{scope}/zero_point", quantizer.zero_point)
    factors = [scale.output[0], zero_point.output[0]]
    x, result = node.input[0], node.output[0]
    shape, dtype = graph.get_shape(result), graph.get_dtype(result)
    graph.remove_node(node.name)
    codes = graph.make_node(
        "QuantizeLinear",
        [x, *factors],
        name=f"{scope}/QuantizeLinear",
        shapes=[shape],
        dtypes=[onnx.helper.np_dtype_to_tensor_dtype(quantizer.zero_point.dtype)],
    )
    graph.make_node(
        "DequantizeLinear",
        [codes.output[0], *factors],
        name=f"{scope}/DequantizeLinear",
        outputs=[result],
        shapes=[shape],
        dtypes=[dtype],
    )


def _hide_weights(graph: Any, tags: Tags) -> tuple[Found, ...]:
    found: list[Found] = []
    for node in list(graph.get_nodes()):
        weight = tags.find(node.get_tensor_value(as_list=False)) if node.is_const() else None
        if weight is None or weight.constant.role != "weight":
            continue
        hidden = graph.make_node(
            _WEIGHT_NODE,
            [],
            attr={"number": len(found)},
            shapes=[list(weight.positions.shape)],
            dtypes=[onnx.TensorProto.FLOAT],
        )
        graph.replace_all_inputs(node.output[0], hidden.output[0])
        graph.remove_node(node.name)
        found.append(weight)
    return tuple(found)


class _Failures(logging.Handler):
    """Names of the ops that tf2onnx logs as those it could not convert."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.ops: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if isinstance(record.args, tuple) and str(record.msg).startswith("Failed to convert node"):
            self.ops.append(str(record.args[0]))

    def check(self) -> None:
        """Raises UnsupportedLayerError when there is one."""
        if self.ops:
            raise UnsupportedLayerError(f'tf2onnx cannot convert the op "{self.ops[0]}"')


def _check_converted(
    graph: Any, failures: _Failures, graph_def: tf.compat.v1.GraphDef, opset: int
) -> None:
    failures.check()
    for node in graph.get_nodes():
        known = node.domain or onnx.defs.has(node.type, opset)
        if not (known or node.is_const() or node.is_graph_input()):
            if node.type in _CONDITIONS:
                refuse_conditions(import_frozen(graph_def), "tf2onnx", SWITCHES)
            raise UnsupportedLayerError(
                f'tf2onnx does not convert the op "{node.name}" ({node.type}) to opset {opset}'
            )
