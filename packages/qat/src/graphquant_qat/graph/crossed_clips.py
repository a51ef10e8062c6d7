"""A word on ranges whose ends training pushed across zero, when the record is written."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from graphquant_core.graph import GraphView
from graphquant_core.graph.weight_source import WeightSource, find_weight_source
from graphquant_core.listing import MOST_NAMES
from graphquant_qat.graph.insert import QuantizedLayer
from graphquant_qat.graph.ulq import CLIP_MAX

v1 = tf.compat.v1

_CROSSED = (
    "graphquant: training pushed a range across zero, the record holds the nearest one with zero "
    "in it: "
)

_STEPS = 255


def warn_of_crossed_clips(layers: Mapping[str, QuantizedLayer], view: GraphView) -> tf.Operation:
    """An op that prints which layers have clip_max < 0 or clip_min > 0 by a step, or no range.

    The record never holds such a range: where it is used, the minimum is at most 0 and the maximum
    is above it. In a graph that a session runs, printing to stderr takes the place of logging.

    Args:
        layers: The layers, by the names that the record has for them.
        view: Their graph.
    """
    found = {name: _clips(layer, view) for name, layer in layers.items()}
    clips = {name: pair for name, pair in found.items() if pair is not None}
    if not clips:
        return tf.no_op()
    low, high = (tf.stack(ends) for ends in zip(*clips.values(), strict=True))
    # Within a step of zero an end rounds to zero anyway, which training does all the time.
    crossed = (low > high / _STEPS) | (high < low / _STEPS) | (high <= low)

    def tell() -> tf.Operation:
        entries = [
            tf.constant([f'layer "{name}" (clip_min ' for name in clips]),
            tf.strings.as_string(low, shortest=True),
            ", clip_max ",
            tf.strings.as_string(high, shortest=True),
            ")",
        ]
        named = tf.boolean_mask(tf.strings.join(entries), crossed)
        listed = tf.strings.reduce_join(named[:MOST_NAMES], separator=", ")
        more = tf.size(named) - MOST_NAMES
        rest = tf.strings.join([", and ", tf.strings.as_string(more), " more"])
        line = tf.strings.join([_CROSSED, listed, tf.where(more > 0, rest, "")])
        # tf.print would put the text through a formatter that escapes its quotes.
        return tf.raw_ops.PrintV2(input=line, output_stream="stderr")

    return v1.cond(tf.reduce_any(crossed), tell, tf.no_op)


def _clips(layer: QuantizedLayer, view: GraphView) -> tuple[tf.Tensor, tf.Tensor] | None:
    """(clip_min, clip_max) as they are stored; ``None`` when another strategy made the range."""
    factors = view.graph.get_tensor_by_name(layer.activation.scale).op
    if len(factors.inputs) != 3:
        return None
    low, high, _ = factors.inputs
    source = find_weight_source(view, high)
    if not isinstance(source, WeightSource) or not source.name.endswith(f"/{CLIP_MAX}"):
        return None
    return low, high
