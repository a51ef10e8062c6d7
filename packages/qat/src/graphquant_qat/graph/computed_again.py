"""What a quantiser returns isn't kept for the backward pass: there it is computed again.

A convolution's gradient to its filter takes what the convolution took. Kept beside what went into
the quantiser, which the clips' gradient takes, each activation is in memory once more than in the
float network. Computing it again is one op that reads what is kept anyway, and takes no longer
than touching the memory that is saved.
"""

from __future__ import annotations

import tensorflow as tf

from graphquant_core.graph.control_flow import control_flow_context
from graphquant_core.graph.rewire import take_instead

FILTER_GRADIENT_TYPES = frozenset(
    {"Conv2DBackpropFilter", "Conv3DBackpropFilterV2", "DepthwiseConv2dNativeBackpropFilter"}
)
"""Ops that only gradients of convolutions create, and whose results no gradient hangs on."""


def computed_again(op: tf.Operation) -> tf.Tensor:
    """The result of the fake quantiser `op` as the gradients of filters take it, computed anew.

    The result itself where no filter's gradient takes it, or where `op` stands in a v1 cond.

    Call it in the gradient of `op`: the gradients of the layers that take it are there then.
    """
    result = op.outputs[0]
    if control_flow_context(op) is not None:
        return result
    found = result
    for taker in result.consumers():
        if taker.type in FILTER_GRADIENT_TYPES:
            found = _computed_for(taker, op)
    return found


def _computed_for(taker: tf.Operation, op: tf.Operation) -> tf.Tensor:
    """The result of `op`, computed right before `taker`, which takes it instead.

    It waits for what arrives at that filter alone: what arrives at another layer's may hang on it.
    """
    result = op.outputs[0]
    arrived = [x.op for x in taker.inputs if x is not result and x.dtype == result.dtype]
    values, low, high = op.inputs
    gradient = {op.type: op.get_attr("_gradient_op_type").decode()}
    with tf.control_dependencies(arrived), op.graph.gradient_override_map(gradient):
        again = tf.quantization.fake_quant_with_min_max_vars(
            values,
            low,
            high,
            num_bits=op.get_attr("num_bits"),
            narrow_range=op.get_attr("narrow_range"),
            name="again",
        )
    for port, tensor in enumerate(list(taker.inputs)):
        if tensor is result:
            take_instead(taker, port, again)
    return again
