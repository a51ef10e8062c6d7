"""Write the record from inside the graph: one op that a session runs after training.

It uses stock ops only, so that it works wherever the graph runs, also in another process.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.replica import shared_name
from graphquant_qat.graph.batch_norm_factor import ScaleVector, folded_scales
from graphquant_qat.graph.crossed_clips import warn_of_crossed_clips
from graphquant_qat.graph.insert import Quantized, QuantizedLayer
from graphquant_qat.graph.insert_values import QuantizedValue

v1 = tf.compat.v1


def write_record_op(quantized: Quantized, record_file: str, view: GraphView) -> tf.Tensor:
    """A string tensor [] whose evaluation writes the record to `record_file` and returns it.

    Evaluating it fails with InvalidArgumentError, which names the layer, when a range has never
    seen data or a factor isn't finite. Nothing is written then. A session can raise no error of
    ours, and TensorFlow has no op that renames a file: an interruption while the record is being
    written leaves a part of it, which `save_quant_retrain_model` refuses, because layers are
    missing that were trained.
    """
    with (
        view.graph.as_default(),
        tf.control_dependencies(None),
        v1.name_scope(None),
        v1.name_scope("graphquant_record"),
        v1.device("/CPU:0"),
    ):
        text = _record_text(list(quantized.layers.values()), view)
        if quantized.values:
            text = tf.strings.join([text, _values_text(list(quantized.values.values()), view)])
        with tf.control_dependencies([tf.io.write_file(record_file, text)]):
            return tf.identity(text, name="record")


def _record_text(layers: Sequence[QuantizedLayer], view: GraphView) -> tf.Tensor:
    """The record of `layers` in AMCT's text form, [], by one vector of strings for each line."""
    tensor = view.graph.get_tensor_by_name
    names = [shared_name(layer.layer.name) for layer in layers]
    scale_d = tf.stack([tensor(layer.activation.scale) for layer in layers])
    offset_d = tf.stack([tensor(layer.activation.offset) for layer in layers])
    scale_w, owners = _weight_scales(layers, view)
    checks = [
        _check_calibrated(layers, names, view),
        _check_finite(names, scale_d, scale_w, owners),
        warn_of_crossed_clips(dict(zip(names, layers, strict=True)), view),
    ]
    with tf.control_dependencies(checks):
        quoted = [_quoted(name) for name in names]
        weights = tf.strings.join(["    scale_w: ", _shortest(scale_w.values), "\n"])
        offsets = tf.fill(tf.shape(weights), "    offset_w: 0\n")
        lines = tf.strings.join(
            [
                'record {\n  key: "', tf.constant(quoted), '"\n  value {\n    scale_d: ',
                _shortest(scale_d), "\n    offset_d: ", tf.strings.as_string(offset_d), "\n",
                tf.strings.unsorted_segment_join(weights, owners, len(layers)),
                tf.strings.unsorted_segment_join(offsets, owners, len(layers)),
                '    dst_type: "INT8"\n  }\n}\n',
            ]
        )  # fmt: skip
        return tf.strings.reduce_join(lines)


def _values_text(values: Sequence[QuantizedValue], view: GraphView) -> tf.Tensor:
    """An entry for each value that is rounded where it arises, [], in the same form."""
    tensor = view.graph.get_tensor_by_name
    names = [value.name for value in values]
    scales = tf.stack([tensor(value.scale) for value in values])
    offsets = tf.stack([tensor(value.offset) for value in values])
    checks = [_check_finite_values(names, scales), _check_values_calibrated(values, view)]
    with tf.control_dependencies(checks):
        lines = tf.strings.join(
            [
                'record {\n  key: "', tf.constant([_quoted(name) for name in names]),
                '"\n  value {\n    scale_d: ', _shortest(scales),
                "\n    offset_d: ", tf.strings.as_string(offsets), "\n  }\n}\n",
            ]
        )  # fmt: skip
        return tf.strings.reduce_join(lines)


def _check_finite_values(names: Sequence[str], scales: tf.Tensor) -> tf.Operation:
    message = "has a scale that is not finite: its range holds NaN or infinity"
    return _assert_all(tf.math.is_finite(scales), [f'value "{name}"' for name in names], message)


def _check_values_calibrated(values: Sequence[QuantizedValue], view: GraphView) -> tf.Operation:
    calibrated = [(v.name, v.calibrated) for v in values if v.calibrated is not None]
    flags = [view.graph.get_tensor_by_name(flag) for _, flag in calibrated]
    return _assert_calibrated(flags, [f'value "{name}"' for name, _ in calibrated])


def _quoted(name: str) -> str:
    return name.replace("\\", "\\\\").replace('"', '\\"')


def _weight_scales(
    layers: Sequence[QuantizedLayer], view: GraphView
) -> tuple[ScaleVector, np.ndarray]:
    """Folded scales of all weights, and the index of the layer that each belongs to."""
    weighted = [(index, layer) for index, layer in enumerate(layers) if layer.weight is not None]
    if not weighted:
        return ScaleVector(tf.zeros([0]), ()), np.zeros(0, np.int32)
    scales = [
        view.graph.get_tensor_by_name(layer.weight.scale)
        for _, layer in weighted
        if layer.weight is not None
    ]
    found = folded_scales(view, [layer.layer for _, layer in weighted], scales)
    owners = np.repeat([index for index, _ in weighted], found.counts)
    return found, owners.astype(np.int32)


def _check_calibrated(
    layers: Sequence[QuantizedLayer], names: Sequence[str], view: GraphView
) -> tf.Operation:
    flags, owners = [], []
    for name, layer in zip(names, layers, strict=True):
        for part in (layer.activation, layer.weight):
            if part is not None and part.calibrated is not None:
                flags.append(view.graph.get_tensor_by_name(part.calibrated))
                owners.append(f'layer "{name}"')
    return _assert_calibrated(flags, owners)


def _assert_calibrated(flags: Sequence[tf.Tensor], owners: Sequence[str]) -> tf.Operation:
    if not flags:
        return tf.no_op()
    message = "was never calibrated: train on data before the record is written"
    return _assert_all(tf.stack(flags), owners, message)


def _check_finite(
    names: Sequence[str], scale_d: tf.Tensor, scale_w: ScaleVector, owners: np.ndarray
) -> tf.Operation:
    finite = tf.math.is_finite(tf.concat([scale_d, scale_w.values], 0))
    weights = [
        f'weight of layer "{name}", channel {channel},'
        for name, count in zip(names, np.bincount(owners, minlength=len(names)), strict=True)
        for channel in range(count)
    ]
    subjects = [*(f'activation of layer "{name}"' for name in names), *weights]
    message = "has a scale that is not finite: the weights or the range hold NaN or infinity"
    return _assert_all(finite, subjects, message)


def _assert_all(holds: tf.Tensor, subjects: Sequence[str], message: str) -> tf.Operation:
    """Fails with the first subject for which `holds` is false, and how many there are."""
    failed = tf.boolean_mask(tf.constant(subjects), tf.logical_not(holds))
    count = tf.strings.as_string(tf.size(failed))
    total = f" of {len(subjects)} are wrong)"
    first = tf.strings.reduce_join(failed[:1])
    label = tf.strings.join([first, f" {message} (", count, total])
    return tf.debugging.Assert(tf.reduce_all(holds), [label])


def _shortest(values: tf.Tensor) -> tf.Tensor:
    """The ``%.9g`` form: reads back as the same float32 (but for denormals)."""
    return tf.strings.as_string(values, precision=9, shortest=True)
