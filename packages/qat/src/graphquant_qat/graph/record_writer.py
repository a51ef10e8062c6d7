"""Write the record from inside the graph: one op that a session runs after training.

It uses stock ops only, so that it works wherever the graph runs, also in another process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.replica import shared_name
from graphquant_qat.graph.batch_norm_factor import folded_scale
from graphquant_qat.graph.insert import QuantizedLayer

v1 = tf.compat.v1


def record_text(layers: Sequence[QuantizedLayer], view: GraphView) -> tf.Tensor:
    """The record of `layers` as a string tensor [], in AMCT's text form.

    Evaluating it fails with InvalidArgumentError, which names the layer, when a range has never
    seen data or a factor isn't finite.
    """
    return tf.strings.join([_layer_text(layer, view) for layer in layers])


def write_record_op(
    layers: Sequence[QuantizedLayer], record_file: str, graph: tf.Graph
) -> tf.Tensor:
    """A string tensor [] whose evaluation writes the record to `record_file` and returns it."""
    with (
        graph.as_default(),
        tf.control_dependencies(None),
        v1.name_scope(None),
        v1.name_scope("graphquant_record"),
        v1.device("/CPU:0"),
    ):
        text = record_text(layers, GraphView(graph))
        with tf.control_dependencies([tf.io.write_file(record_file, text)]):
            return tf.identity(text, name="record")


def _layer_text(quantized: QuantizedLayer, view: GraphView) -> tf.Tensor:
    tensor = view.graph.get_tensor_by_name
    name = shared_name(quantized.layer.name)
    parts = [quantized.activation, quantized.weight]
    flags = [tensor(part.calibrated) for part in parts if part and part.calibrated]
    seen = tf.reduce_all(tf.stack(flags)) if flags else tf.constant(True)
    scale_d, offset_d = tensor(quantized.activation.scale), tensor(quantized.activation.offset)
    if quantized.weight is None:
        scale_w = tf.zeros([0])
    else:
        scale = folded_scale(view, quantized.layer, tensor(quantized.weight.scale))
        scale_w = tf.reshape(scale, [-1])
    return _format_layer()(tf.constant(name), scale_d, offset_d, scale_w, seen)


@functools.cache
def _format_layer() -> Callable[..., tf.Tensor]:
    """One function for all layers, so that a layer costs the graph one op instead of thirty."""
    signature = [
        tf.TensorSpec([], tf.string),
        tf.TensorSpec([], tf.float32),
        tf.TensorSpec([], tf.int32),
        tf.TensorSpec([None], tf.float32),
        tf.TensorSpec([], tf.bool),
    ]

    @tf.function(input_signature=signature, autograph=False)
    def format_layer(
        name: tf.Tensor,
        scale_d: tf.Tensor,
        offset_d: tf.Tensor,
        scale_w: tf.Tensor,
        seen: tf.Tensor,
    ) -> tf.Tensor:
        label = tf.strings.join(['layer "', name, '" '])
        unseen = tf.strings.join(
            [label, "was never calibrated: train on data before the record is written"]
        )
        infinite = tf.strings.join(
            [label, "has a scale that is not finite: its weights or its range hold NaN or infinity"]
        )
        finite = tf.math.is_finite(scale_d) & tf.reduce_all(tf.math.is_finite(scale_w))
        checks = [
            tf.debugging.Assert(seen, [unseen]),
            tf.debugging.Assert(finite, [infinite]),
        ]
        with tf.control_dependencies(checks):
            weights = tf.strings.join(["    scale_w: ", _shortest(scale_w), "\n"])
            offsets = tf.fill(tf.shape(scale_w), "    offset_w: 0\n")
            return tf.strings.join(
                [
                    'record {\n  key: "', name, '"\n  value {\n    scale_d: ', _shortest(scale_d),
                    "\n    offset_d: ", tf.strings.as_string(offset_d), "\n",
                    tf.strings.reduce_join(weights), tf.strings.reduce_join(offsets),
                    '    dst_type: "INT8"\n  }\n}\n',
                ]
            )  # fmt: skip

    return format_layer


def _shortest(values: tf.Tensor) -> tf.Tensor:
    """The ``%.9g`` form: reads back as the same float32 (but for denormals)."""
    return tf.strings.as_string(values, precision=9, shortest=True)
