"""Values of activations, as many as a range estimator needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ModelFileError, NonFiniteError
from graphquant_core.graph.frozen import add_for_each, cpu_session
from graphquant_core.listing import listed, short
from graphquant_export.inputs.batches import Batch, make_batches
from graphquant_export.inputs.brief import brief

v1 = tf.compat.v1

Float32Array = npt.NDArray[np.float32]

MAX_VALUES = 2**17
"""Values of a tensor that are kept; more don't move a range that holds the extremes anyway."""


def sample_values(
    graph: tf.Graph,
    tensors: Sequence[str],
    calibration: Mapping[str, npt.ArrayLike],
    batch_size: int,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, Float32Array]:
    """Values that each of `tensors` has on `calibration`, with the smallest and the largest.

    All of them when they are few, else a random choice, the same in every run, and both ends once:
    ends of every batch would make rare values frequent. Only these leave the session, so that
    memory stays that of an inference.

    Args:
        graph: The frozen graph; ops are added to it.
        tensors: Names of float32 tensors.
        calibration: Samples for each placeholder, by its name.
        batch_size: Samples of a batch.
        progress: Called with (samples done, samples in all) after each batch.

    Raises:
        ConfigError, RangeError: `calibration` doesn't fit the placeholders.
        NonFiniteError: A value of `calibration` or of a tensor is NaN or infinite.
        ModelFileError: TensorFlow cannot run the model on `calibration`.
    """
    batches = make_batches(graph, calibration, batch_size, "calibration")
    total = batches.total
    with graph.as_default():
        places = v1.placeholder(tf.float32, [None], "graphquant_places")
    chosen = add_for_each(graph, [graph.get_tensor_by_name(x) for x in tensors], _choose, [places])
    random = np.random.default_rng(0)
    found: dict[str, list[Float32Array]] = {name: [] for name in tensors}
    ends: dict[str, list[Float32Array]] = {name: [] for name in tensors}
    done = 0
    with cpu_session(graph) as session:
        for batch in batches:
            count = -(-MAX_VALUES * batch.size // total)
            fed = random.random(count, np.float32)
            values = run_batch(session, chosen, batch, {places: fed})
            for name, (value, both, finite) in zip(tensors, values, strict=True):
                _check_finite(name, finite)
                found[name].append(value)
                ends[name].append(both)
            done += batch.size
            if progress is not None:
                progress(done, total)
    return {name: _with_ends(parts, ends[name]) for name, parts in found.items()}


def run_batch(
    session: tf.compat.v1.Session,
    tensors: Sequence[Any],
    batch: Batch,
    others: Mapping[tf.Tensor, npt.NDArray[Any]] | None = None,
) -> Any:
    """Values of `tensors` on `batch`, and on `others`, which are fed besides.

    Raises:
        ModelFileError: TensorFlow cannot run the model on it.
    """
    try:
        return session.run(tensors, {**batch.feeds, **(others or {})})
    except tf.errors.OpError as error:
        raise ModelFileError(
            "calibration: TensorFlow cannot run the model on "
            f"{_described(batch.by_op())}: {brief(error)}"
        ) from error


def _with_ends(parts: Sequence[Float32Array], ends: Sequence[Float32Array]) -> Float32Array:
    """All values, and the smallest and the largest unless they are among them."""
    values, both = np.concatenate(parts), np.concatenate(ends)
    extremes = np.array([both.min(), both.max()], np.float32) if both.size else both
    missing = [end for end in extremes if end not in (values.min(), values.max())]
    return np.append(values, np.array(missing, np.float32))


def _described(values: Mapping[str, npt.NDArray[Any]]) -> str:
    return listed(f'"{short(name)}" {list(value.shape)}' for name, value in values.items())


def _choose(tensor: tf.Tensor, places: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """(values of `tensor`, both ends, whether each one is finite).

    All values when `places` has room for them, else those there. Which of NaN and a number is the
    smaller one depends on the kernel, so that the ends don't say whether there is a NaN.
    """
    flat = tf.reshape(tensor, [-1])
    size, room = tf.size(flat, tf.int64), tf.size(places, tf.int64)
    last = tf.cast(size, tf.float64) - 1
    some = tf.cast(tf.round(tf.cast(places, tf.float64) * last), tf.int64)
    # No cond: building one for each tensor takes longer than most models run.
    chosen = tf.gather(flat, tf.where(size <= room, tf.range(room), some)[: tf.minimum(size, room)])
    extremes = tf.stack([tf.reduce_min(flat), tf.reduce_max(flat)])
    return chosen, extremes[: 2 * tf.minimum(size, 1)], tf.reduce_all(tf.math.is_finite(flat))


def _check_finite(name: str, finite: np.bool_) -> None:
    if not finite:
        raise NonFiniteError(
            f'the activation "{name}" is NaN or infinite on the calibration samples: look for '
            "samples that the model cannot take"
        )
