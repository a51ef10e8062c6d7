"""How exactly MNN computes a convolution of 3x3 in floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ConfigError
from graphquant_export.targets.mnn import ConverterCommand, convert, run_mnn_model

v1 = tf.compat.v1


@pytest.mark.usefixtures("mnn")
def test_small_tiles_of_winograd_are_as_exact_as_none(tmp_path: Path) -> None:
    """Without the hint tiles are large, and an error is some hundred times as large."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 24, 24, 16)).astype(np.float32)
    weight = rng.normal(size=(3, 3, 16, 16)).astype(np.float32)
    with tf.Graph().as_default() as graph:
        given = v1.placeholder(tf.float32, (None, 24, 24, 16), name="x")
        tf.nn.conv2d(given, tf.constant(weight), 1, "SAME", name="y")
    (tmp_path / "model.pb").write_bytes(graph.as_graph_def().SerializeToString())
    written = convert(ConverterCommand(tmp_path / "model.pb", tmp_path / "model.mnn"))
    exact = tf.nn.conv2d(x.astype(np.float64), weight.astype(np.float64), 1, "SAME").numpy()

    def error(level: int | None) -> float:
        """Largest error beside float64, over the largest value."""
        found = run_mnn_model(written, {"x": x}, ["y"], winograd_level=level)["y"]
        return float(np.abs(found - exact).max() / np.abs(exact).max())

    usual, small, without = error(None), error(1), error(0)
    assert usual == error(3)
    assert usual > 10 * small
    assert small < 3e-6
    assert without < 3e-6


@pytest.mark.usefixtures("mnn")
@pytest.mark.parametrize("level", [-1, 4, 1.5, "3", True])
def test_a_level_that_mnn_has_not_is_refused(level: object) -> None:
    """Before anything runs."""
    with pytest.raises(ConfigError, match=r"winograd_level .* must be an integer from 0 to 3"):
        run_mnn_model("missing.mnn", {}, ["y"], winograd_level=level)  # type: ignore[arg-type]
