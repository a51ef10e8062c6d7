"""A transformer as BERT's own code builds one in TensorFlow 1, trained and exported to each target.

Layers take matrices of rank 2, a batch of any size; layer norms are moments and a
batch_normalization, GELU has an erf, attention is a product of two activations under a mask.
"""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.record import read_record
from graphquant_core.registry import load_registry
from graphquant_export.verification import verify

v1 = tf.compat.v1
WORDS, LENGTH, WIDTH, HEADS, CLASSES = 24, 6, 16, 2, 4
LAYERS = 6 + 3
"""Query, key, value, output and the two of the feed-forward part; segments, pooler and classes."""


@attrs.frozen(eq=False)
class Net:
    """A network with the tensors of a training script."""

    graph: tf.Graph
    words: tf.Tensor
    mask: tf.Tensor
    segments: tf.Tensor
    labels: tf.Tensor
    loss: tf.Tensor


def dense(x, units, name):
    with v1.variable_scope(name):
        start = v1.truncated_normal_initializer(stddev=1.2 / np.sqrt(int(x.shape[-1])), seed=4)
        kernel = v1.get_variable("kernel", [int(x.shape[-1]), units], initializer=start)
        bias = v1.get_variable("bias", [units], initializer=v1.zeros_initializer())
        return tf.nn.bias_add(tf.matmul(x, kernel), bias)


def layer_norm(x, name):
    with v1.variable_scope(name):
        beta = v1.get_variable("beta", [WIDTH], initializer=v1.zeros_initializer())
        gamma = v1.get_variable("gamma", [WIDTH], initializer=v1.ones_initializer())
        mean, variance = tf.nn.moments(x, [-1], keepdims=True)
        return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-12)


def gelu(x):
    return x * 0.5 * (1.0 + tf.math.erf(x / np.float32(np.sqrt(2))))


def heads(x, batch):
    return tf.transpose(tf.reshape(x, [batch, LENGTH, HEADS, WIDTH // HEADS]), [0, 2, 1, 3])


def block(x, hidden, batch, name):
    """`x` ``[N * LENGTH, WIDTH]`` after attention and a feed-forward part."""
    with v1.variable_scope(name):
        query, key, value = (heads(dense(x, WIDTH, n), batch) for n in ("query", "key", "value"))
        scores = tf.multiply(tf.matmul(query, key, transpose_b=True), (WIDTH // HEADS) ** -0.5)
        shares = tf.nn.softmax(scores + hidden)
        context = tf.transpose(tf.matmul(shares, value), [0, 2, 1, 3])
        context = tf.reshape(context, [batch * LENGTH, WIDTH])
        x = layer_norm(dense(context, WIDTH, "output") + x, "norm")
        wide = gelu(dense(x, 4 * WIDTH, "intermediate"))
        return layer_norm(dense(wide, WIDTH, "projection") + x, "norm2")


def build():
    graph = tf.Graph()
    with graph.as_default():
        v1.set_random_seed(3)
        words, mask, segments = (
            v1.placeholder(tf.int32, [None, LENGTH], n) for n in ("words", "mask", "segments")
        )
        labels = v1.placeholder(tf.int64, [None], "labels")
        start = v1.truncated_normal_initializer(stddev=1.0, seed=5)
        with v1.variable_scope("embeddings"):
            table = v1.get_variable("words", [WORDS, WIDTH], initializer=start)
            kinds = v1.get_variable("kinds", [2, WIDTH], initializer=start)
            places = v1.get_variable("places", [2 * LENGTH, WIDTH], initializer=start)
        batch = tf.shape(words)[0]
        x = tf.reshape(tf.gather(table, tf.reshape(words, [-1])), [batch, LENGTH, WIDTH])
        segment = tf.matmul(tf.one_hot(tf.reshape(segments, [-1]), 2), kinds, name="segment")
        x += tf.reshape(segment, [batch, LENGTH, WIDTH])
        x += tf.reshape(tf.slice(places, [0, 0], [LENGTH, -1]), [1, LENGTH, WIDTH])
        x = tf.reshape(layer_norm(x, "embedded"), [-1, WIDTH])
        hidden = (1.0 - tf.cast(tf.reshape(mask, [-1, 1, 1, LENGTH]), tf.float32)) * -10000.0
        x = block(x, hidden, batch, "layer")
        first = tf.squeeze(tf.reshape(x, [batch, LENGTH, WIDTH])[:, 0:1, :], [1])
        logits = dense(tf.tanh(dense(first, WIDTH, "pooler")), CLASSES, "classes")
        tf.identity(logits, name="logits")
        loss = tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
        )
    return Net(graph, words, mask, segments, labels, loss)


def samples(count, seed=0):
    """Sequences of which the first word tells the class, some of them shorter."""
    random = np.random.default_rng(seed)
    words = random.integers(0, WORDS, (count, LENGTH))
    kept = random.integers(2, LENGTH + 1, count)[:, None] > np.arange(LENGTH)
    segments = np.arange(LENGTH) >= random.integers(1, LENGTH, count)[:, None]
    feeds = {"words": words, "mask": kept, "segments": segments}
    return {name: value.astype(np.int32) for name, value in feeds.items()}, words[:, 0] % CLASSES


def frozen(net, checkpoint):
    with net.graph.as_default(), v1.Session() as session:
        v1.train.Saver().restore(session, checkpoint)
        constants = v1.graph_util.convert_variables_to_constants
        return constants(session, net.graph.as_graph_def(), ["logits"])


def train(folder, target):
    """(frozen graph, record) of a short training for `target`."""
    files, net = (str(folder / "c.json"), str(folder / "r.txt")), build()
    amct.create_quant_retrain_config(files[0], net.graph)
    amct.create_quant_retrain_model(net.graph, *files, target=target)
    with net.graph.as_default(), v1.Session() as session:
        step = v1.train.AdamOptimizer(0.001).minimize(net.loss)
        session.run(v1.global_variables_initializer())
        for index in range(6):
            feeds, labels = samples(32, index)
            feed = {net.graph.get_tensor_by_name(f"{n}:0"): v for n, v in feeds.items()}
            session.run(step, {**feed, net.labels: labels})
        checkpoint = v1.train.Saver().save(session, str(folder / "model"))
    inference = build()
    ops = amct.create_quant_retrain_model(inference.graph, *files, target=target)
    with inference.graph.as_default(), v1.Session() as session:
        v1.train.Saver().restore(session, checkpoint)
        session.run(ops[-1])
    return frozen(inference, checkpoint), read_record(files[1])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(frozen graph, record) of a training that isn't for one target."""
    return train(tmp_path_factory.mktemp("trained"), "ascend")


def checked(model, record, target, folder, **options):
    """The verification of what was exported, whose layers are all int8."""
    assert len(record) == LAYERS
    exporter = load_registry().exporter(target)
    artifact = exporter.export(model, ["logits"], record, folder / "m", **options)
    assert {row.execution for row in exporter.runtime(artifact).executions()} == {"int8"}
    found = verify(artifact, samples(33, 100)[0], layers=True, classes=["logits"], batch_size=20)
    assert not found.problems()
    return found.outputs[0]


@pytest.mark.parametrize("target", ["ascend", "onnx", "litert", "mnn"])
def test_a_trained_transformer_goes_to_each_target(tmp_path, trained, target):
    """All layers are int8, and the file computes what was trained, for a batch of any size."""
    options = {} if target == "ascend" else {"calibration": samples(32, 50)[0]}
    output = checked(*trained, target, tmp_path, **options)
    assert output.simulation.agreement >= 0.95


def test_a_transformer_is_trained_for_a_target(tmp_path):
    """From the record alone, and closer to what was trained."""
    output = checked(*train(tmp_path, "litert"), "litert", tmp_path)
    assert output.simulation.mean <= 0.5
    assert output.simulation.agreement >= 0.95
