"""Ranges whose ends training pushed across zero, or past each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.grid import INT8
from graphquant_core.quantize import affine_params
from graphquant_core.record import read_record

v1 = tf.compat.v1


@pytest.fixture(scope="module")
def record_with(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[float, float], tuple[float, int]]]:
    """(scale_d, offset_d) of the layer "dense" when its trained clips are these."""
    folder = tmp_path_factory.mktemp("clips")
    config_file, record_file = str(folder / "c.json"), str(folder / "r.txt")
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4], "x")
        y = tf.matmul(tf.tanh(x), v1.get_variable("w", [4, 3]), name="dense")
        tf.matmul(y, v1.get_variable("v", [3, 2]), name="sound")
        amct.create_quant_retrain_config(config_file, graph)
        operations = amct.create_quant_retrain_model(graph, config_file, record_file)
        variables = {op.name: op for op in operations[:-1]}
        with v1.Session() as session:
            session.run(v1.global_variables_initializer())
            for key in ("w", "v"):
                variables[f"{key}/ULQ_batches:0"].load(1, session)

            def write(clip_min: float, clip_max: float) -> tuple[float, int]:
                variables["w/ULQ_clip_min:0"].load(clip_min, session)
                variables["w/ULQ_clip_max:0"].load(clip_max, session)
                session.run(operations[-1])
                factors = read_record(record_file)["dense"]
                return factors.scale_d, factors.offset_d

            yield write


@pytest.mark.parametrize(
    ("clip_min", "clip_max"), [(-1.0, -0.5), (0.25, 2.0), (1.0, -1.0), (0.5, 0.25), (0.0, 0.0)]
)
def test_crossed_clips_are_projected_in_the_record_and_told(
    record_with: Callable[[float, float], tuple[float, int]],
    capfd: pytest.CaptureFixture[str],
    clip_min: float,
    clip_max: float,
) -> None:
    """clip_max < clip_min, clip_max < 0 or clip_min > 0: the record has the nearest range that
    holds zero, and stderr names the layer with both ends.
    """
    scale, offset = record_with(clip_min, clip_max)
    low, high = min(clip_min, 0.0), max(clip_max, 255 * 1.192092896e-7)
    expected = affine_params(low, high, INT8)
    np.testing.assert_allclose(scale, expected.scale, rtol=1e-6)
    assert offset == int(expected.offset)
    printed = capfd.readouterr().err
    assert 'layer "dense" (clip_min ' in printed
    assert "across zero" in printed
    assert '"sound"' not in printed


@pytest.mark.parametrize(
    ("clip_min", "clip_max"),
    [(-1.0, 2.0), (0.0, 1.0), (-1.0, 0.0), (0.0035, 1.0), (-1.0, -0.0035)],
)
def test_a_range_that_holds_zero_is_no_matter(
    record_with: Callable[[float, float], tuple[float, int]],
    capfd: pytest.CaptureFixture[str],
    clip_min: float,
    clip_max: float,
) -> None:
    """Also one that ends at zero, or less than a step beside it."""
    record_with(clip_min, clip_max)
    assert "across zero" not in capfd.readouterr().err
