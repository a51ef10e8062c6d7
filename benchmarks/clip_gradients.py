"""The graph's gradients of clip_max and clip_min against the formula in NumPy.

The formula is evaluated twice: by `graphquant_core.ulq.ulq_gradient`, whose values are float32,
and here in float64 throughout. A sum of terms with both signs may be small beside them, so that
the difference is given relative to the sum of their sizes as well as to the gradient itself.
Float32 may put a value that lies on a tie between two codes on either side of it, which changes
its term by 1/255: the second half of the cases has no value within 1/1000 of a step of a tie or of
the grid's ends.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import tensorflow.compat.v1 as tf

from benchmarks.report import Row
from graphquant_core.grid import INT8
from graphquant_core.quantize import affine_params
from graphquant_core.quantizers import QuantizerRequest
from graphquant_core.ulq import ulq_gradient
from graphquant_qat.graph.ulq import build_ulq

CASES, VALUES = 2000, 4096
TITLE = f"Gradients of the clips against NumPy, {CASES:,} random cases of {VALUES:,} values"
FORMATS = {
    "values": "{}",
    "gradient": "{}",
    "against": "{}",
    "median_of_terms": "{:.1e}",
    "largest_of_terms": "{:.1e}",
    "median_of_value": "{:.1e}",
    "largest_of_value": "{:.1e}",
}
Pair = np.ndarray


def measure() -> list[Row]:
    """One row for each clip, each way to evaluate the formula and each kind of values."""
    rows = []
    for values, near_ties in (("any", True), ("none near a tie", False)):
        found: dict[str, list[tuple[Pair, Pair, Pair]]] = {"float32": [], "float64": []}
        for actual, x, upstream, high, low in gradients(near_ties):
            exact, sizes = in_float64(x, upstream, high, low)
            stated = np.array(ulq_gradient(x, upstream, high, low, INT8)[1:], np.float64)
            found["float32"].append((actual, stated, sizes))
            found["float64"].append((actual, exact, sizes))
        rows += [
            {"values": values, **summary(name, clip, np.array(cases)[:, :, index])}
            for index, clip in enumerate(("clip_max", "clip_min"))
            for name, cases in found.items()
        ]
    return rows


def summary(against: str, clip: str, cases: np.ndarray) -> Row:
    """The row of one clip; `cases` [N, 3] are gradients, truths and sums of the terms' sizes."""
    actual, expected, sizes = cases.T
    of_terms = np.abs(actual - expected) / sizes
    of_value = np.abs(actual - expected) / np.abs(expected)
    return {
        "gradient": clip,
        "against": against,
        "median_of_terms": float(np.median(of_terms)),
        "largest_of_terms": float(of_terms.max()),
        "median_of_value": float(np.median(of_value)),
        "largest_of_value": float(of_value.max()),
    }


def gradients(near_ties: bool) -> Iterator[tuple[Pair, np.ndarray, np.ndarray, float, float]]:
    """(gradients of clip_max and clip_min, x, upstream, clip_max, clip_min) of each case."""
    random = np.random.default_rng(0)
    with tf.Graph().as_default():
        x_in, upstream_in = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [None])
        options = {"clip_max": 1.0, "clip_min": -1.0}
        built = build_ulq(tf.identity(x_in), QuantizerRequest("layer", INT8, options=options))
        clips = sorted(tf.trainable_variables(), key=lambda variable: variable.name)
        wanted = tf.gradients(tf.reduce_sum(built.output * upstream_in), clips)
        with tf.Session() as session:
            for _ in range(CASES):
                high, low = 10 ** random.uniform(-2, 2, 2) * (1, -1)
                ends = np.float32(high), np.float32(low)
                if not near_ties and distance_to_tie(low, high, low) < 1e-3:
                    continue
                for variable, value in zip(clips, ends, strict=True):
                    variable.load(value, session)
                x = random.normal(size=VALUES) * random.uniform(0.2, 1) * max(high, -low)
                x, upstream = x.astype(np.float32), random.normal(size=VALUES).astype(np.float32)
                if not near_ties:
                    x[distance_to_tie(x, high, low) < 1e-3] = 0.0
                actual = session.run(wanted, {x_in: x, upstream_in: upstream})
                yield np.array(actual, np.float64), x, upstream, float(ends[0]), float(ends[1])


def distance_to_tie(x: np.ndarray | float, high: float, low: float) -> np.ndarray:
    """How far each value is from a tie between two codes, or from an end, in steps."""
    scale = (high - low) / INT8.levels
    v = np.asarray(x, np.float64) / scale
    offset = int(affine_params(low, high, INT8).offset)
    ends = np.minimum(np.abs(v - (INT8.maximum - offset)), np.abs(v - (INT8.minimum - offset)))
    return np.minimum(np.abs(v - np.floor(v) - 0.5), ends)


def in_float64(x: np.ndarray, upstream: np.ndarray, high: float, low: float) -> tuple[Pair, Pair]:
    """Both gradients, and the sums of the sizes of their terms."""
    scale = (high - low) / INT8.levels
    offset = int(affine_params(low, high, INT8).offset)
    values, g = x.astype(np.float64), upstream.astype(np.float64)
    above = values > scale * (INT8.maximum - offset)
    below = values < scale * (INT8.minimum - offset)
    v = np.where(above, high, np.where(below, low, values)) / scale
    e = (np.rint(v) - v) / INT8.levels
    terms = np.array([g * (e + above), g * (below - e)])
    return terms.sum(1), np.abs(terms).sum(1)
