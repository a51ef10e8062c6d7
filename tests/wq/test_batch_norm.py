"""Re-estimation of batch-norm statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ConfigError, NoLayersError
from graphquant_wq import reestimate_batch_norm

v1 = tf.compat.v1


def _norm_graph(form: str) -> tf.Graph:
    """One batch norm in training mode, whose averages are updated in some form."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4, 4, 3], "x")
        mean = v1.get_variable("mean", [3], initializer=v1.zeros_initializer(), trainable=False)
        variance = v1.get_variable("var", [3], initializer=v1.ones_initializer(), trainable=False)
        if form == "unfused":
            batch_mean, batch_variance = tf.nn.moments(x, [0, 1, 2])
        else:
            _, batch_mean, batch_variance = v1.nn.fused_batch_norm(x, tf.ones(3), tf.zeros(3))[:3]
        for moving, batch in ((mean, batch_mean), (variance, batch_variance)):
            if form == "blend":
                v1.assign(moving, moving * 0.9 + batch * 0.1)
            else:
                v1.assign_sub(moving, (moving - batch) * 0.1)
        loss = v1.get_variable("loss", [], initializer=v1.zeros_initializer(), trainable=False)
        v1.assign_sub(loss, (loss - tf.reduce_mean(x)) * 0.1)
        with tf.name_scope("weights"):
            v1.get_variable("w", [3], initializer=v1.random_normal_initializer())
    return graph


@pytest.mark.usefixtures("both_kinds_of_variables")
@pytest.mark.parametrize("form", ["difference", "blend", "unfused"])
def test_the_averages_become_the_means_over_the_batches(form: str) -> None:
    """In float64: the mean of the batch means, and of the batch variances; nothing else moves."""
    graph = _norm_graph(form)
    rng = np.random.default_rng(2)
    batches = [rng.normal(3, 2, (6, 4, 4, 3)).astype(np.float32) for _ in range(7)]
    with graph.as_default(), v1.Session() as session:
        session.run(v1.global_variables_initializer())
        variables = {variable.op.name: variable for variable in v1.global_variables()}
        before = session.run({name: variables[name] for name in ("loss", "w")})
        feeds = ({"x:0": batch} for batch in batches)
        assert reestimate_batch_norm(session, feeds) == 2
        found = session.run(variables)
    exact = [batch.astype(np.float64).reshape(-1, 3) for batch in batches]
    correction = 1 if form == "unfused" else 96 / 95
    np.testing.assert_allclose(found["mean"], np.mean([b.mean(0) for b in exact], 0), rtol=1e-5)
    np.testing.assert_allclose(
        found["var"], np.mean([b.var(0) for b in exact], 0) * correction, rtol=1e-5
    )
    np.testing.assert_array_equal(found["loss"], before["loss"])
    np.testing.assert_array_equal(found["w"], before["w"])


def test_a_graph_without_batch_norm_in_training_mode_is_an_error(
    small_model: Callable[..., Any],
) -> None:
    """The inference graph has none, and the message says which graph is wanted."""
    model = small_model(training=False)
    with v1.Session(graph=model.graph) as session, pytest.raises(NoLayersError, match="training"):
        reestimate_batch_norm(session, [{}])


def test_no_batches_are_an_error(small_model: Callable[..., Any]) -> None:
    """Averages of nothing must not be written."""
    model = small_model()
    with v1.Session(graph=model.graph) as session:
        session.run(model.initializer())
        with pytest.raises(ConfigError, match="feed_dicts is empty"):
            reestimate_batch_norm(session, [])
