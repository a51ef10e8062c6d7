"""AMCT's whole flow on tf_slim's resnet_v1_50; prints what came out of it as JSON.

slim_resnet.py FOLDER IMAGE_SIZE BATCH STEPS SAMPLES
"""

from __future__ import annotations

import contextlib
import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import legacy_keras  # noqa: F401 - before TensorFlow
import numpy as np
import tensorflow.compat.v1 as tf
import tf_slim
from tf_slim.nets import resnet_v1

import graphquant_qat as amct
from graphquant_core.graph import plan_graph

CLASSES = 1000
OUTPUT = "probabilities"


# Without Grappler: it takes longer over the training graph than a few steps do.
PLAIN = tf.ConfigProto()
PLAIN.graph_options.rewrite_options.disable_meta_optimizer = True


class Network(NamedTuple):
    """A graph and the tensors that the flow needs."""

    graph: tf.Graph
    images: tf.Tensor
    labels: tf.Tensor
    logits: tf.Tensor
    loss: tf.Tensor


class Stopwatch:
    """Seconds of each step that was timed."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, step: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[step] = time.perf_counter() - start


def build(size: int, training: bool) -> Network:
    """resnet_v1_50 with moving averages that follow within a few steps."""
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(0)
        images = tf.placeholder(tf.float32, [None, size, size, 3], "images")
        labels = tf.placeholder(tf.int64, [None], "labels")
        with tf_slim.arg_scope(resnet_v1.resnet_arg_scope(batch_norm_decay=0.5)):
            scores, _ = resnet_v1.resnet_v1_50(images, CLASSES, is_training=training)
        logits = tf.squeeze(scores, [1, 2])
        loss = tf.losses.sparse_softmax_cross_entropy(labels, logits)
        tf.nn.softmax(logits, name=OUTPUT)
    return Network(graph, images, labels, logits, loss)


def samples(size: int, count: int, seed: int) -> np.ndarray:
    """Images [count, size, size, 3] of noise, coarse and fine, each with its own colour."""
    random = np.random.default_rng(seed)
    coarse = random.normal(size=(count, size // 16, size // 16, 3)).repeat(16, 1).repeat(16, 2)
    fine = random.normal(size=(count, size, size, 3))
    colour = random.normal(size=(count, 1, 1, 3))
    return (coarse + random.uniform(0, 1, (count, 1, 1, 1)) * fine + colour).astype(np.float32)


def train(network: Network, size: int, batch: int, steps: int, checkpoint: str) -> None:
    """A few steps: start values of the ranges, and moving averages."""
    random = np.random.default_rng(0)
    with network.graph.as_default():
        with tf.control_dependencies(tf.get_collection(tf.GraphKeys.UPDATE_OPS)):
            step = tf.train.MomentumOptimizer(1e-3, 0.9).minimize(network.loss)
        with tf.Session(config=PLAIN) as session:
            session.run(tf.global_variables_initializer())
            for seed in range(steps):
                labels = random.integers(0, CLASSES, batch)
                images = samples(size, batch, seed)
                session.run(step, {network.images: images, network.labels: labels})
            tf.train.Saver().save(session, checkpoint)


def run(
    graph: tf.Graph,
    tensors: list[str],
    images: np.ndarray,
    config: tf.ConfigProto | None = None,
) -> list[np.ndarray]:
    """Values of `tensors`, image after image."""
    with tf.Session(graph=graph, config=config) as session:
        found = [session.run(tensors, {"images:0": image[None]}) for image in images]
    return [np.concatenate(values) for values in zip(*found, strict=True)]


def described(graph: tf.Graph) -> dict[str, object]:
    """Size and plan of a float graph."""
    plan = plan_graph(graph)
    return {
        "ops": len(graph.get_operations()),
        "convolutions": sum(op.type == "Conv2D" for op in graph.get_operations()),
        "layers": len(plan.layers),
        "skips": {skip.name: skip.reason for skip in plan.skips},
    }


def imported(path: Path) -> tf.Graph:
    """The graph in the file at `path`."""
    graph_def = tf.GraphDef()
    graph_def.ParseFromString(path.read_bytes())
    with tf.Graph().as_default() as graph:
        tf.import_graph_def(graph_def, name="")
    return graph


def logits_of(graph: tf.Graph) -> str:
    """What the softmax takes."""
    return graph.get_operation_by_name(OUTPUT).inputs[0].name


def difference(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """In output steps: the range of what is expected has 255."""
    return np.abs(actual - expected) / ((expected.max() - expected.min()) / 255)


def compared(actual: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Two arrays of logits [N, 1000]."""
    steps = difference(actual, expected)
    return {
        "same_top1": float(np.mean(actual.argmax(1) == expected.argmax(1))),
        "mean_steps": float(steps.mean()),
        "largest_steps": float(steps.max()),
    }


def end_to_end(fake: tf.Graph, deployed: tf.Graph, images: np.ndarray) -> dict[str, object]:
    """Logits of the deployed graph, and of the same fake-quantised one without Grappler.

    The second says how far float32 sums in another order bring such a network from itself.
    """
    (expected,) = run(fake, [logits_of(fake)], images)
    (actual,) = run(deployed, [logits_of(deployed)], images)
    (itself,) = run(fake, [logits_of(fake)], images, PLAIN)
    return {
        "classes": len(np.unique(expected.argmax(1))),
        "deployed": compared(actual, expected),
        "itself": compared(itself, expected),
    }


def layer_by_layer(fake: tf.Graph, deployed: tf.Graph, images: np.ndarray) -> dict[str, float]:
    """What goes into each Relu, and the logits, when all before it is what `fake` computes."""
    relus = [op for op in deployed.get_operations() if op.type == "Relu"]
    results = [*(op.inputs[0].name for op in relus), logits_of(deployed)]
    names = [*(op.name for op in relus), logits_of(fake).partition(":")[0]]
    expected = run(fake, [f"{name}:0" for name in names], images)
    with tf.Session(graph=deployed) as session:
        fed = {op.outputs[0]: values for op, values in zip(relus, expected, strict=False)}
        actual = session.run(results, fed | {"images:0": images})
    steps = [
        difference(np.maximum(values, 0) if index < len(relus) else values, wanted)
        for index, (values, wanted) in enumerate(zip(actual, expected, strict=True))
    ]
    same = np.mean(actual[-1].argmax(1) == expected[-1].argmax(1))
    return {
        "compared": len(steps),
        "mean_steps": float(max(values.mean() for values in steps)),
        "largest_steps": float(max(values.max() for values in steps)),
        "same_top1": float(same),
    }


def main(folder: Path, size: int, batch: int, steps: int, count: int) -> dict[str, object]:
    """Every call once on each graph; the deployed model beside the fake-quantised one."""
    timed = Stopwatch()
    config, record = str(folder / "config.json"), str(folder / "record.txt")
    checkpoint, frozen = str(folder / "retrained.ckpt"), folder / "frozen.pb"
    with timed("build"):
        training, inference = build(size, training=True), build(size, training=False)
    graphs = {"training": described(training.graph), "inference": described(inference.graph)}
    with timed("config"):
        amct.create_quant_retrain_config(config, training.graph)
    with timed("rewrite_training"):
        amct.create_quant_retrain_model(training.graph, config, record)
    with timed("train"):
        train(training, size, batch, steps, checkpoint)
    with timed("rewrite_inference"):
        retrain_ops = amct.create_quant_retrain_model(inference.graph, config, record)
    with inference.graph.as_default(), tf.Session() as session:
        tf.train.Saver().restore(session, checkpoint)
        with timed("record"):
            session.run(retrain_ops[-1])
        with timed("freeze"):
            constant_graph = tf.graph_util.convert_variables_to_constants(
                session, inference.graph.as_graph_def(), [OUTPUT]
            )
            frozen.write_bytes(constant_graph.SerializeToString())
    with timed("save"):
        amct.save_quant_retrain_model(str(frozen), [OUTPUT], record, str(folder / "resnet"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    quantized = folder / "resnet_quantized.pb"
    fake, deployed = imported(frozen), imported(quantized)
    types = [op.type for op in deployed.get_operations()]
    images = samples(size, count, seed=1000)
    return {
        "graphs": graphs,
        "recorded": Path(record).read_text().count("record {"),
        "dequants": types.count("AscendDequant"),
        "fake_quantisers": sum("FakeQuant" in op_type for op_type in types),
        "seconds": timed.seconds,
        "peak_mb": peak,
        "frozen_mb": frozen.stat().st_size / 1e6,
        "quantized_mb": quantized.stat().st_size / 1e6,
        "end_to_end": end_to_end(fake, deployed, images),
        "layer_by_layer": layer_by_layer(fake, deployed, images[:2]),
    }


if __name__ == "__main__":
    found = main(Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:]))
    print(json.dumps(found))
