"""mnncompress' documented script, call by call; only the imports and `tf.compat.v1` are ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from graphquant_export.targets.mnn import ConverterCommand, convert, run_mnn_model
from graphquant_export.targets.mnn.verify import compare_weights
from graphquant_wq import WeightQuantizer, strip_wq_ops


@pytest.mark.usefixtures("both_kinds_of_variables", "mnn")
@pytest.mark.parametrize("bits", [8, 4, 2])
def test_the_documented_script_runs_and_mnn_computes_what_was_trained(
    small_model: Callable[..., Any], float_checkpoint: str, tmp_path: Path, bits: int
) -> None:
    """Training graph, then the inference graph: the MNN model gives what the last one showed."""
    data = np.random.default_rng(7).uniform(size=(40, 8, 8, 1)).astype(np.float32)
    target = (data.mean(axis=(1, 2, 3)) > 0.5).astype(np.int32)
    model = small_model()
    with model.graph.as_default():
        graph = tf.get_default_graph()
        weight_quantizer = WeightQuantizer(graph, bits=bits, debug_info=True)
        opt = tf.train.AdamOptimizer(1e-3)
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            train_step = opt.minimize(model.loss)
        saver = tf.train.Saver()
        sess = tf.Session()
        saver.restore(sess, float_checkpoint)
        weight_quantizer.init(sess)
        for _ in range(5):
            feed_dict = {model.x: data, model.labels: target}
            sess.run([train_step], feed_dict=feed_dict)
            weight_quantizer.update(sess)
        checkpoint = saver.save(sess, str(tmp_path / "tuned.ckpt"))
        sess.close()

    model = small_model(training=False)
    with model.graph.as_default():
        weight_quantizer = WeightQuantizer(tf.get_default_graph(), bits=bits)
        sess = tf.Session()
        tf.train.Saver().restore(sess, checkpoint)
        weight_quantizer.init(sess)
        trained = sess.run(model.probabilities, {model.x: data})
        weight_quantizer.save_compress_params(str(tmp_path / "compress_params.bin"), append=False)
        strip_wq_ops()
        output_graph_def = tf.graph_util.convert_variables_to_constants(
            sess, sess.graph_def, output_node_names=["prob"]
        )
        with open(tmp_path / "frozen.pb", "wb") as f:
            f.write(output_graph_def.SerializeToString())
        sess.close()

    command = ConverterCommand(
        tmp_path / "frozen.pb", tmp_path / "model.mnn", tmp_path / "compress_params.bin"
    )
    written = convert(command)
    found = compare_weights(output_graph_def, written, weight_quantizer.compress_params())
    assert len(found) == 5
    assert sum(layer.mismatches for layer in found) == 0
    deployed = run_mnn_model(written, {"x": data}, ["prob"])["prob"]
    np.testing.assert_allclose(deployed, trained, rtol=0, atol=1e-5)
