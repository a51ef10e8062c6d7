"""Self-distillation of weights: on their grids they learn to give the float model's answers."""

from __future__ import annotations

import glob
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.graph.frozen import cpu_session
from graphquant_tune.best import Best
from graphquant_tune.folded import FoldedModel
from graphquant_tune.loop import Ended, Loop, Progress, Schedule
from graphquant_tune.moments import layer_moments
from graphquant_tune.norm_statistics import RE_ESTIMATED, batch_statistics, folded_values
from graphquant_tune.norms import normalised_layers
from graphquant_tune.samples import Samples
from graphquant_tune.student import build_student
from graphquant_tune.teacher import Teacher
from graphquant_tune.weights_judge import WeightsJudge
from graphquant_wq import WeightQuantizer, strip_wq_ops

v1 = tf.compat.v1
Float32Array = npt.NDArray[np.float32]

RATE = 4e-3
"""Adam's rate for biases and batch norms at the start."""

STEP_RATE = 0.06
"""That of weights, in steps of their grids."""


def distil(
    model: FoldedModel,
    bits: Mapping[str, int],
    start: Mapping[str, Float32Array],
    samples: Samples,
    judges: Samples,
    schedule: Schedule,
    *,
    asymmetric: bool = True,
    progress: Callable[[Progress], object] | None = None,
) -> tuple[dict[str, Float32Array], Ended]:
    """(weights on their grids and biases, by the names of the constants; how training ended).

    Adam on the distance of the outputs, batch norms put back, weights in units of their grids'
    steps.

    Args:
        model: The float model.
        bits: Bits of each layer that is quantised, by its name.
        start: Weights and biases to start from, by the names of the constants.
        samples: What to learn from.
        judges: What the best values are told by.
        schedule: How long.
        asymmetric: Whether a group has a minimum of its own; else zeros stay zero.
        progress: Called after every few steps.

    Raises:
        DivergedError: It ended in NaN or infinity.
    """
    normalised = [layer for layer in normalised_layers(model) if layer.name in bits]
    moments = layer_moments(model, normalised, samples.batches(RE_ESTIMATED))
    student = build_student(model, bits, moments, start)
    left = [layer.name for layer in model.layers if layer.name not in bits]
    quantizer = WeightQuantizer(
        student.graph,
        layer_bits={glob.escape(name): number for name, number in bits.items()},
        skip_layers=[glob.escape(name) for name in left],
        asymmetric=asymmetric,
        keep_zeros=not asymmetric,
    )
    with student.graph.as_default():
        rate = v1.placeholder(tf.float32, [], "rate")
        optimizer = quantizer.in_step_units(v1.train.AdamOptimizer(rate), STEP_RATE / RATE)
        train = optimizer.minimize(student.loss, var_list=list(student.variables.values()))
        initialise = v1.global_variables_initializer()
    after = None if asymmetric else quantizer.update
    with (
        cpu_session(student.graph) as session,
        Teacher(model, student.answers) as teacher,
        WeightsJudge(student, session, bits, samples, judges) as judge,
    ):
        session.run(initialise)
        quantizer.init(session)
        best = Best(session, list(student.variables.values()), judge)
        loop = Loop(session, train, student.loss, teacher, rate, RATE, after, progress, best)
        ended = loop.run(samples, schedule)
        best.restore()
        statistics = batch_statistics(student, session, samples)
        values = session.run(dict(student.variables))
        ended.check_finite(values)
        strip_wq_ops(student.graph, session=session)
    for name, constant in student.quantised_weights(bits).items():
        values[name] = tf.make_ndarray(constant.op.get_attr("value"))
    return folded_values(student, values, statistics), ended
