"""Training in int8: where it starts, what it keeps, and what it asks the float model for."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.graph.frozen import import_frozen
from graphquant_export.post_training import quantize_post_training
from graphquant_tune import distill_int8
from graphquant_tune.best import Best
from graphquant_tune.distill_int8 import distil_int8
from graphquant_tune.folded import fold_model
from graphquant_tune.int8_start import step_units
from graphquant_tune.judge import MeanLoss
from graphquant_tune.loop import Schedule
from graphquant_tune.samples import Samples
from graphquant_tune.student import build_student
from graphquant_tune.teacher import Teacher

v1 = tf.compat.v1


def prepared(models, images, name, target="onnx", skip_layers=()):
    """(folded model, samples, record without training)."""
    model = models[name]()
    folded = fold_model(model.graph_def, model.outputs)
    samples = Samples(import_frozen(folded.graph_def), {"images": images}, 32)
    record = quantize_post_training(
        folded.graph_def, folded.outputs, samples.some(64), target=target, equalize=False,
        skip_layers=skip_layers,
    )  # fmt: skip
    return folded, samples, record


@pytest.mark.parametrize("target", ["ascend", "onnx"])
@pytest.mark.parametrize(("name", "skipped"), [("classifier", ["depthwise"]), ("denoiser", [])])
def test_training_starts_at_the_ranges_and_biases_without_it(
    models, images, name, skipped, target, monkeypatch
):
    """Those of layers and of what the target rounds besides, when nothing is learned."""
    monkeypatch.setattr(distill_int8, "RATE", 1e-30)
    folded, samples, record = prepared(models, images, name, target, skipped)
    frozen, found, _ = distil_int8(folded, record, samples, samples, target, Schedule(1))
    assert list(found) == list(record)
    for layer, factors in record.items():
        assert found[layer].scale_d == pytest.approx(factors.scale_d, rel=1e-6), layer
        assert found[layer].offset_d == factors.offset_d, layer
    assert found.value_grids.keys() == record.value_grids.keys()
    for value, grid in record.value_grids.items():
        assert found.value_grids[value].ends == pytest.approx(grid.ends, rel=1e-5), value
    nodes, before = {node.name: node for node in frozen.node}, folded.values()
    for layer in folded.layers:
        if layer.bias is not None and layer.name in record:
            correction = record[layer.name].bias_correction
            bias = tf.make_ndarray(nodes[f"trained/{layer.bias}"].attr["value"].tensor)
            wanted = before[layer.bias] + (0 if correction is None else correction)
            np.testing.assert_allclose(bias, wanted, rtol=1e-6, atol=1e-7)


def test_a_unit_is_a_step_of_the_grid_and_what_it_moves_the_largest_input_by(models, images):
    """255 scale_d scale_w for a bias; a channel of zeros has none."""
    folded, _, record = prepared(models, images, "classifier")
    first = folded.layers[0]
    weight = folded.values()[first.weight].copy()
    weight[..., 0] = 0
    changed = fold_model(folded.with_values({first.weight: weight}), folded.outputs)
    units, factors = step_units(changed, record), record[first.name]
    steps = np.where(np.arange(8) > 0, factors.scale_w, 0).astype(np.float32)
    np.testing.assert_array_equal(units[changed.layers[0].weight].ravel(), steps)
    moved = steps * np.float32(255 * factors.scale_d)
    np.testing.assert_array_equal(units[changed.layers[0].bias], moved)


class Silent:
    """A teacher whose answers are in the feeds already."""

    def with_answers(self, feeds):
        return feeds


def test_the_values_of_the_least_loss_on_the_judges_are_kept():
    """Looked at in ten parts of the training, and once more at its end."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 1], "x")
        v = v1.get_variable("v", [], initializer=v1.zeros_initializer(), use_resource=True)
        loss = tf.reduce_mean(tf.square(v - x))
    with tf.Graph().as_default() as model:
        v1.placeholder(tf.float32, [None, 1], "x")
    judges = Samples(model, {"x": np.full((16, 1), 3, np.float32)}, 16)
    with v1.Session(graph=graph) as session:
        best = Best(session, [v], MeanLoss(session, loss, Silent(), judges))
        for step, value in enumerate([0, 5, 2.5, 9, 3, 7], 1):
            v.load(value, session)
            # The step at which it is 3 is too near to the last look.
            best.after_step(step * 4 - (value == 3), share=step / 10)
        v.load(4, session)
        best.restore()
        assert session.run(v) == 2.5


@pytest.mark.parametrize("name", ["classifier", "denoiser"])
def test_the_float_model_answers_to_a_sample_once(models, images, name, monkeypatch):
    """Kept answers are those that it gave, whatever batch a sample is in; up to a size."""
    model = models[name]()
    folded = fold_model(model.graph_def, model.outputs)
    samples = Samples(import_frozen(folded.graph_def), {"images": images}, 32)
    student = build_student(folded, [], {})
    with Teacher(folded, student.answers) as asked, Teacher(folded, student.answers) as fresh:
        for feeds in samples.batches():
            asked.with_answers(feeds)
        asked._session.close()
        feeds = next(samples.at_random(7))
        (place,) = student.answers
        found, wanted = asked.with_answers(feeds), fresh.with_answers(feeds)
        np.testing.assert_allclose(found[place], wanted[place], rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(found["images:0"], feeds["images:0"])
    monkeypatch.setattr("graphquant_tune.teacher.MOST_KEPT", 10)
    with Teacher(folded, student.answers) as teacher:
        teacher.with_answers(feeds)
        assert not teacher._kept
