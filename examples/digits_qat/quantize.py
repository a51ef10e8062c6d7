"""Quantisation-aware training, call by call as AMCT's guide describes it."""

from __future__ import annotations

import network
import numpy as np
import tensorflow.compat.v1 as tf
from data import Digits
from files import Files
from inference import freeze, predict
from training import Start, train

import graphquant_qat as amct

LEARNING_RATE = 1e-3


def retrain(digits: Digits, files: Files, epochs: int, seed: int) -> None:
    """Fine-tune the float network with fake quantisation in its graph."""
    model = network.build(training=True, seed=seed)
    with model.graph.as_default():
        float_variables = tf.train.Saver()

    # 1. Which layers are quantised, and how: a file that can be edited.
    amct.create_quant_retrain_config(config_file=files.config, graph=model.graph)

    # 2. The training graph, rewritten in place.
    amct.create_quant_retrain_model(
        graph=model.graph, config_file=files.config, record_file=files.record
    )

    # 3. and 4. The gradients, on the rewritten graph; the float checkpoint; training; saving.
    train(
        model,
        digits,
        epochs=epochs,
        learning_rate=LEARNING_RATE,
        seed=seed,
        checkpoint=files.retrained_checkpoint,
        start=Start(float_variables, files.float_checkpoint),
        title="quantisation-aware training",
    )


def export(digits: Digits, files: Files) -> np.ndarray:
    """Write the quantised model; the fake-quantised graph's probabilities of the test images."""
    model = network.build(training=False)

    # 5. The inference graph, rewritten with the same files.
    retrain_ops = amct.create_quant_retrain_model(
        graph=model.graph, config_file=files.config, record_file=files.record
    )

    # 6. and 7. The trained variables; scales and offsets into the record; the frozen graph.
    with model.graph.as_default(), tf.Session() as session:
        tf.train.Saver().restore(session, files.retrained_checkpoint)
        probabilities = predict(model, session, digits.test_images)
        session.run(retrain_ops[-1])
        freeze(model, session, files.retrained_frozen)

    # 8. The quantised model.
    amct.save_quant_retrain_model(
        pb_model=files.retrained_frozen,
        outputs=[network.OUTPUT],
        record_file=files.record,
        save_path=files.save_path,
    )
    return probabilities
