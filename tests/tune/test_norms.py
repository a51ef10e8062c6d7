"""Batch norms that stand for biases compute the same, and fold into weights and biases again."""

from __future__ import annotations

import numpy as np
import pytest

from graphquant_core.graph.frozen import cpu_session, import_frozen
from graphquant_tune.folded import fold_model
from graphquant_tune.moments import layer_moments
from graphquant_tune.norms import EPSILON, normalised_layers, with_norms, without_norm


def run(graph_def, fetched, x):
    graph = import_frozen(graph_def)
    with cpu_session(graph) as session:
        return session.run(fetched, {"images:0": x})


@pytest.mark.parametrize("name", ["classifier", "denoiser"])
def test_on_the_samples_of_its_moments_a_norm_changes_nothing(models, name, images):
    """Training mode on exactly these samples has their mean and variance."""
    model = models[name]()
    folded = fold_model(model.graph_def, model.outputs)
    layers = normalised_layers(folded)
    assert {layer.layer.op_type for layer in layers} >= {"Conv2D"}
    batches = [{"images:0": part} for part in np.split(images, 4)]
    normed, norms = with_norms(folded, layers, layer_moments(folded, layers, batches))
    assert len(norms) == len(layers)
    output = f"{model.outputs[0]}:0"
    wanted, found = run(folded.graph_def, output, images), run(normed, output, images)
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())


def test_moments_are_those_of_float64(models, images):
    """Of a layer's result without its bias, over everything but the channels."""
    model = models["classifier"]()
    folded = fold_model(model.graph_def, model.outputs)
    layers = normalised_layers(folded)
    batches = [{"images:0": part} for part in np.split(images, 8)]
    found = layer_moments(folded, layers, batches)
    for layer in layers:
        x = run(folded.graph_def, f"{layer.name}:0", images).astype(np.float64)
        mean, variance = found[layer.name]
        np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(variance, x.var((0, 1, 2)), rtol=1e-4)


def test_a_norm_folds_into_weight_and_bias(models, images):
    """weight * f and beta - mean * f compute what the norm with these statistics does."""
    model = models["classifier"]()
    folded = fold_model(model.graph_def, model.outputs)
    layers = normalised_layers(folded)
    moments = layer_moments(folded, layers, [{"images:0": images}])
    _, norms = with_norms(folded, layers, moments)
    random, values = np.random.default_rng(2), folded.values()
    for norm in norms:
        mean, variance = (part.astype(np.float64) for part in moments[norm.layer.name])
        gamma = random.normal(size=len(mean)).astype(np.float32)
        beta = random.normal(size=len(mean)).astype(np.float32)
        old = values[norm.layer.weight]
        weight, bias = without_norm(norm, old, gamma, beta, mean, variance)
        x = run(folded.graph_def, f"{norm.layer.name}:0", images)
        moved = folded.with_values({norm.layer.weight: weight})
        y = run(moved, f"{norm.layer.name}:0", images) if norm is norms[0] else None
        if y is not None:
            wanted = (x - mean) / np.sqrt(variance + EPSILON) * gamma + beta
            np.testing.assert_allclose(y + bias, wanted, rtol=1e-3, atol=1e-3)
        factor = norm.layer.along_channels(gamma / np.sqrt(variance + EPSILON))
        np.testing.assert_allclose(weight, old * factor, rtol=1e-5)
