"""A functional Keras model, called in a graph: trained, rewritten, deployed; prints what happened.

keras_model.py FOLDER tf_keras|keras
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if sys.argv[2] == "tf_keras":
    import legacy_keras  # noqa: F401 - before TensorFlow
import attrs
import numpy as np
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.graph import GraphView
from graphquant_core.record import read_record
from graphquant_qat.graph.trainable_plan import plan_training

v1 = tf.compat.v1
SHAPE = (12, 12, 4)


@attrs.frozen(eq=False)
class Network:
    """A graph, its model and the result of calling it."""

    graph: tf.Graph
    model: tf.keras.Model
    x: tf.Tensor
    output: tf.Tensor


def build(training: bool) -> Network:
    """conv, separable conv, transposed conv, average pool, dense; batch norm behind two of them."""
    layers = tf.keras.layers
    with tf.Graph().as_default() as graph:
        v1.set_random_seed(0)
        tf.keras.utils.set_random_seed(0)  # Keras 3 draws its start values from a seed of its own
        inputs = tf.keras.Input(SHAPE)
        y = layers.Conv2D(6, 3, padding="same", use_bias=False, name="first")(inputs)
        y = layers.ReLU()(layers.BatchNormalization(name="norm", momentum=0.5)(y))
        y = layers.SeparableConv2D(8, 3, padding="same", name="second")(y)
        y = layers.ReLU()(layers.BatchNormalization(name="norm_2", momentum=0.5)(y))
        y = layers.Conv2DTranspose(5, 2, 2, name="third")(y)
        y = layers.AveragePooling2D(3, name="pool")(y)
        y = layers.Dense(3, name="last")(layers.Flatten()(y))
        model = tf.keras.Model(inputs, y, name="model")
        x = v1.placeholder(tf.float32, [None, *SHAPE], "x")
        output = tf.identity(model(x, training=training), name="output")
    return Network(graph, model, x, output)


def train(network: Network, images: np.ndarray, checkpoint: str) -> dict[str, list[float]]:
    """Moving averages before and after a few steps that run the model's updates, if it has any."""
    with network.graph.as_default():
        # The first copy's updates are among them, and wait for a placeholder that nothing feeds.
        found = getattr(network.model, "updates", [])
        updates = [op for op in found if op.name.startswith("model/")]
        with tf.control_dependencies(updates):
            loss = tf.reduce_mean((network.output - 1.0) ** 2)
        step = v1.train.AdamOptimizer(1e-3).minimize(loss)
        moving = [v for v in network.model.non_trainable_variables if "moving_mean" in v.name]
        read = [variable.value for variable in moving]
        read = [value() if callable(value) else value for value in read]
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            before = session.run(read)
            for _ in range(6):
                session.run([step, *updates], {network.x: images})
            after = session.run(read)
            v1.train.Saver().save(session, checkpoint)
    return {
        "update_ops": len(network.graph.get_collection(v1.GraphKeys.UPDATE_OPS)),
        "updates": len(updates),
        "moved": [float(np.abs(b - a).max()) for a, b in zip(before, after, strict=True)],
    }


def layers_when_both_are_used() -> int:
    """How many layers there are when a result of the first copy is taken as well."""
    network = build(training=True)
    with network.graph.as_default():
        if tf.is_tensor(network.model.output):  # Keras 3 has no first copy in the graph
            tf.identity(network.model.output)
    return len(plan_training(GraphView(network.graph)).layers)


def main(folder: Path) -> dict[str, object]:
    """The four calls; the deployed model beside the fake-quantised one."""
    config, record = str(folder / "config.json"), str(folder / "record.txt")
    checkpoint, frozen = str(folder / "retrained.ckpt"), folder / "frozen.pb"
    # Each image has a colour: of noise alone the poolings' means would hardly differ.
    random = np.random.default_rng(0)
    images = random.normal(size=(16, *SHAPE)) + 2 * random.normal(size=(16, 1, 1, SHAPE[-1]))
    images = images.astype(np.float32)
    network = build(training=True)
    plan = plan_training(GraphView(network.graph))
    amct.create_quant_retrain_config(config, network.graph)
    amct.create_quant_retrain_model(network.graph, config, record)
    trained = train(network, images, checkpoint)
    network = build(training=False)
    retrain_ops = amct.create_quant_retrain_model(network.graph, config, record)
    with network.graph.as_default(), v1.Session() as session:
        v1.train.Saver().restore(session, checkpoint)
        session.run(retrain_ops[-1])
        expected = session.run(network.output, {network.x: images})
        constant_graph = v1.graph_util.convert_variables_to_constants(
            session, network.graph.as_graph_def(), ["output"]
        )
    frozen.write_bytes(constant_graph.SerializeToString())
    amct.save_quant_retrain_model(str(frozen), ["output"], record, str(folder / "keras"))
    quantized = v1.GraphDef()
    quantized.ParseFromString((folder / "keras_quantized.pb").read_bytes())
    with tf.Graph().as_default(), v1.Session() as session:
        tf.import_graph_def(quantized, name="")
        actual = session.run("output:0", {"x:0": images})
    steps = np.abs(actual - expected) / ((expected.max() - expected.min()) / 255)
    return {
        "layers": [layer.name for layer in plan.layers],
        "skips": {skip.name: skip.reason for skip in plan.skips},
        "layers_when_both_are_used": layers_when_both_are_used(),
        "recorded": list(read_record(record)),
        "dequants": [node.op for node in quantized.node].count("AscendDequant"),
        "mean_steps": float(steps.mean()),
        "largest_steps": float(steps.max()),
        **trained,
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
