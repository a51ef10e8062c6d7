"""Self-distillation in int8: weights, biases and ranges learn to give the float model's answers."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.graph.frozen import cpu_session
from graphquant_core.graph.step_units import StepUnits
from graphquant_core.quiet import nothing_said
from graphquant_core.record import Record, parse_record
from graphquant_export.inputs.quiet import quiet_tensorflow
from graphquant_tune.assignment import Assignment
from graphquant_tune.best import Best
from graphquant_tune.folded import FoldedModel
from graphquant_tune.int8_start import (
    ranges_of_values,
    step_units,
    with_corrections,
    with_ranges,
)
from graphquant_tune.judge import MeanLoss
from graphquant_tune.loop import Ended, Loop, Progress, Schedule
from graphquant_tune.samples import Samples
from graphquant_tune.student import build_student, import_with_variables
from graphquant_tune.teacher import Teacher

v1 = tf.compat.v1
Float32Array = npt.NDArray[np.float32]

RATE = 0.001
"""Adam's rate at the start, in steps of a weight's grid; others have the units below."""

RANGE_UNIT = 0.1
"""Share of a range that counts as 1 for its ends."""


def distil_int8(
    model: FoldedModel,
    record: Record,
    samples: Samples,
    judges: Samples,
    target: str,
    schedule: Schedule,
    progress: Callable[[Progress], object] | None = None,
) -> tuple[tf.compat.v1.GraphDef, Record, Ended]:
    """(frozen graph with fake quantisers, its record, how training ended).

    It is quantisation-aware training for `target`, with the float model as teacher, from the ranges
    and corrected biases of `record`. Batch norms are not put back: int8 moves little, and
    statistics of a batch are noisier than that.

    Args:
        model: The float model.
        record: What was found without training, for the layers that are quantised.
        samples: What to learn from.
        judges: What the best values are told by.
        target: Name of the target, whose roundings are trained.
        schedule: How long.
        progress: Called after every few steps.

    Raises:
        DivergedError: It ended in NaN or infinity.
    """
    start = with_corrections(model, record)
    student = build_student(start, list(record), {})
    with student.graph.as_default():
        *made, _ = _quantise(student.graph, record, target)
        rate = v1.placeholder(tf.float32, [], "rate")
        named = {variable.op.name: variable for variable in v1.trainable_variables()}
        units = {name: RANGE_UNIT * tf.abs(variable) for name, variable in named.items()}
        for name, unit in step_units(start, record).items():
            units[student.variables[name].op.name] = tf.constant(unit)
        optimizer = StepUnits(v1.train.AdamOptimizer(rate), units)
        train = optimizer.minimize(student.loss, var_list=list(named.values()))
        initialise = v1.global_variables_initializer()
        found = ranges_of_values(record)
        started = [variable for variable in made if variable.op.name in found]
        to_start = Assignment(started)
    with cpu_session(student.graph) as session, Teacher(model, student.answers) as teacher:
        session.run(initialise)
        to_start.run(session, [found[variable.op.name] for variable in started])
        judge = MeanLoss(session, student.loss, teacher, judges)
        best = Best(session, list(named.values()), judge)
        loop = Loop(session, train, student.loss, teacher, rate, RATE, None, progress, best)
        ended = loop.run(samples, schedule)
        best.restore()
        values = session.run(dict(student.variables))
        learned = session.run({variable.op.name: variable for variable in made})
        ended.check_finite({**values, **learned})
    return *_frozen(start, values, learned, record, target), ended


def _frozen(
    model: FoldedModel,
    values: Mapping[str, Float32Array],
    learned: Mapping[str, npt.NDArray[Any]],
    start: Record,
    target: str,
) -> tuple[tf.compat.v1.GraphDef, Record]:
    """The inference graph with the trained values in it, and the record of its ranges."""
    with tf.Graph().as_default() as graph:
        import_with_variables(model.graph_def, values)
        *made, record = _quantise(graph, start, target)
        initialise = v1.global_variables_initializer()
        assignment = Assignment(made)
    with cpu_session(graph) as session:
        session.run(initialise)
        assignment.run(session, [learned[variable.op.name] for variable in made])
        text = session.run(record)
        with quiet_tensorflow():
            frozen = v1.graph_util.convert_variables_to_constants(
                session, graph.as_graph_def(), list(model.outputs)
            )
    return frozen, parse_record(text.decode())


def _quantise(graph: tf.Graph, record: Record, target: str) -> list[Any]:
    """What `create_quant_retrain_model` returns for `graph`, of whose layers those are on."""
    with tempfile.TemporaryDirectory() as folder:
        config_file, record_file = Path(folder) / "config.json", Path(folder) / "record.txt"
        amct.create_quant_retrain_config(str(config_file), graph)
        config = with_ranges(json.loads(config_file.read_text()), record)
        config_file.write_text(json.dumps(config))
        # That layers stay float is said of the call as a whole, not as what a configuration does.
        with nothing_said("graphquant_qat"):
            return amct.create_quant_retrain_model(
                graph, str(config_file), str(record_file), target=target
            )
