"""AMCT's documented flows, line for line apart from the import and `tf.compat.v1`."""

from __future__ import annotations

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import graphquant_qat as amct

ARGS = types.SimpleNamespace(learning_rate=0.002, momentum=0.5)

DEFINITION = """
batch_num: 2
retrain_data_quant_config {
    ulq_quantize {
        dst_type: INT8
    }
}
retrain_weight_quant_config {
    arq_retrain {
        dst_type: INT8
    }
}
skip_layers: "dense/MatMul"
"""


def feed(net: Any, seed: int = 0) -> dict[Any, Any]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, 32)
    x = random.normal(size=(32, 8, 8, 3)) + labels[:, None, None, None]
    return {net.x: x, net.labels: labels}


def infer(path: str, x: np.ndarray) -> np.ndarray:
    graph_def = tf.GraphDef()
    graph_def.ParseFromString(Path(path).read_bytes())
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.import_graph_def(graph_def, name="")
        return sess.run("prob:0", {"x:0": x})


@pytest.mark.usefixtures("script_folder")
def test_the_numbered_steps_with_two_graphs(network: Callable[[bool], Any]) -> None:
    """Training graph, checkpoint, inference graph, `sess.run(retrain_ops[-1])`, frozen, saved."""
    config_file, record_file = "./tmp/config.json", "./tmp/record.txt"
    retrain_ckpt, frozen_quant_eval_pb = "./tmp/retrain_ckpt", "./tmp/frozen.pb"

    train = network(True)
    train_graph, loss = train.graph, train.loss
    amct.create_quant_retrain_config(config_file, train_graph)
    retrain_ops = amct.create_quant_retrain_model(train_graph, config_file, record_file)
    with train_graph.as_default():
        optimizer = tf.train.RMSPropOptimizer(ARGS.learning_rate, momentum=ARGS.momentum)
        train_op = optimizer.minimize(loss)
        saver_save = tf.train.Saver()
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            for step in range(5):
                sess.run(train_op, feed(train, step))
            saver_save.save(sess, retrain_ckpt, global_step=0)

    evaluation = network(False)
    eval_graph = evaluation.graph
    outputs = [eval_graph.get_tensor_by_name("prob:0")]
    retrain_ops = amct.create_quant_retrain_model(eval_graph, config_file, record_file)
    with eval_graph.as_default():
        variables_to_restore = tf.global_variables()
        saver_restore = tf.train.Saver(variables_to_restore)
        with tf.Session() as sess:
            sess.run(tf.global_variables_initializer())
            saver_restore.restore(sess, retrain_ckpt + "-0")
            sess.run(retrain_ops[-1])
            constant_graph = tf.graph_util.convert_variables_to_constants(
                sess, eval_graph.as_graph_def(), [output.name[:-2] for output in outputs]
            )
            with tf.gfile.GFile(frozen_quant_eval_pb, "wb") as f:
                f.write(constant_graph.SerializeToString())
            expected = sess.run(outputs[0], feed(evaluation, 99))
    amct.save_quant_retrain_model(
        frozen_quant_eval_pb,
        [output.name[:-2] for output in outputs],
        record_file,
        "./result/model",
    )

    x = feed(evaluation, 99)[evaluation.x]
    assert np.abs(infer("./result/model_quantized.pb", x) - expected).mean() < 0.01


def test_the_example_with_one_session(network: Callable[[bool], Any], script_folder: Path) -> None:
    """Short configuration, float checkpoint, `.output_tensor` in the training session, saved."""
    (script_folder / "retrain.cfg").write_text(DEFINITION)
    original = network(True)
    with original.graph.as_default(), tf.Session() as sess:
        sess.run(tf.global_variables_initializer())
        float_ckpt = tf.train.Saver().save(sess, "./float_ckpt")

    amct.set_logging_level(print_level="info", save_level="info")
    train = network(True)
    train_graph = train.graph
    config_file = "./tmp/config.json"
    simple_cfg = "./retrain.cfg"
    amct.create_quant_retrain_config(
        config_file=config_file, graph=train_graph, config_defination=simple_cfg
    )
    record_file = "./tmp/record.txt"
    retrain_ops = amct.create_quant_retrain_model(
        graph=train_graph, config_file=config_file, record_file=record_file
    )
    with train_graph.as_default():
        optimizer = tf.train.RMSPropOptimizer(ARGS.learning_rate).minimize(train.loss)
        with tf.Session() as sess:
            amct.restore_float_checkpoint(sess, float_ckpt)
            for step in range(3):
                sess.run(optimizer, feed(train, step))
            sess.run(retrain_ops[-1].output_tensor, feed(train))
            trained_pb = "./tmp/trained.pb"
            frozen = tf.graph_util.convert_variables_to_constants(
                sess, train_graph.as_graph_def(), ["prob"]
            )
            with tf.gfile.GFile(trained_pb, "wb") as f:
                f.write(frozen.SerializeToString())
            expected = sess.run("prob:0", feed(train))
    quant_model_path = "./result/user_model"
    amct.save_quant_retrain_model(
        pb_model=trained_pb,
        outputs=["prob"],
        record_file=record_file,
        save_path=quant_model_path,
    )

    actual = infer("./result/user_model_quantized.pb", feed(train)[train.x])
    assert np.abs(actual - expected).mean() < 0.01
    assert (script_folder / "amct_log" / "amct_tensorflow.log").stat().st_size > 0
    names = [node.name for node in _nodes("./result/user_model_quantized.pb")]
    assert "conv/act_quant/AscendQuant" in names
    assert "conv/weight_quant/AscendWeightQuant" in names
    assert "conv/dequant/AscendDequant" in names
    assert "dense/act_quant/AscendQuant" not in names


def _nodes(path: str) -> Any:
    graph_def = tf.GraphDef()
    graph_def.ParseFromString(Path(path).read_bytes())
    return graph_def.node
