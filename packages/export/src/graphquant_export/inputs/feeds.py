"""Values for the placeholders of a graph, checked before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ConfigError, NonFiniteError, RangeError
from graphquant_core.graph import GraphView
from graphquant_core.graph.frozen import evaluate_constants, tensor_name
from graphquant_core.listing import listed
from graphquant_core.suggestions import closest


def checked_feeds(
    graph: tf.Graph, feeds: Mapping[str, npt.ArrayLike], argument: str = "feeds"
) -> dict[str, npt.NDArray[Any]]:
    """`feeds` by tensor name (``"x:0"``), each in the type of its placeholder.

    Args:
        graph: The frozen graph.
        feeds: A value for each placeholder, by name (``"x"`` or ``"x:0"``). A placeholder with a
            default may be left out.
        argument: What the caller calls `feeds`.

    Raises:
        ConfigError: A name is no placeholder, or a placeholder has no value; names it.
        RangeError: A value has another shape, or a type that doesn't convert (text, objects,
            complex numbers), or lies outside of what the placeholder's type holds.
        NonFiniteError: A value holds NaN or infinity.
    """
    return checked_values(placeholders(graph), feeds, argument)


def placeholders(graph: tf.Graph) -> dict[str, tf.Operation]:
    """The placeholders of `graph`, by name."""
    return {op.name: op for op in graph.get_operations() if op.type.startswith("Placeholder")}


def checked_values(
    found: Mapping[str, tf.Operation], feeds: Mapping[str, npt.ArrayLike], argument: str
) -> dict[str, npt.NDArray[Any]]:
    """`checked_feeds` for a graph whose placeholders are `found`, by their names."""
    if not isinstance(feeds, Mapping):
        raise ConfigError(
            f"{argument} ({type(feeds).__name__}) must map names of placeholders to arrays"
        )
    given: dict[str, npt.NDArray[Any]] = {}
    for key, value in feeds.items():
        name = tensor_name(str(key))
        if name not in found:
            raise ConfigError(
                f'{argument}: "{name}" is not a placeholder of the model{closest(name, found)}; '
                f"it has {listed(sorted(found))}"
            )
        given[f"{name}:0"] = checked_value(found[name].outputs[0], value, argument)
    missing = [
        name
        for name, op in found.items()
        if op.type != "PlaceholderWithDefault" and f"{name}:0" not in given
    ]
    if missing:
        scalar = found[missing[0]].outputs[0].shape.rank == 0
        advice = ": give it an array, or the value that it always has (input_values=)"
        raise ConfigError(
            f'{argument}: the placeholder "{missing[0]}" has no value{advice if scalar else ""}'
        )
    return given


def default_feeds(graph: tf.Graph) -> dict[str, npt.NDArray[Any]]:
    """The constant default of each placeholder that has one, by tensor name (``"x:0"``)."""
    view = GraphView(graph)
    found = {
        op.outputs[0].name: op.inputs[0]
        for op in view.operations
        if op.type == "PlaceholderWithDefault" and not view.depends_on_data(op.inputs[0])
    }
    return dict(zip(found, evaluate_constants(graph, list(found.values())), strict=True))


def checked_value(tensor: tf.Tensor, value: npt.ArrayLike, argument: str) -> npt.NDArray[Any]:
    """`value` in the type of the placeholder `tensor`.

    Raises: as `checked_feeds`.
    """
    where = f'{argument}: the value of "{tensor.op.name}"'
    array = np.asarray(value)
    converted = _converted(array, tensor.dtype, where)
    if not tensor.shape.is_compatible_with(array.shape):
        raise RangeError(
            f"{where} has the shape {list(array.shape)}; the model takes {tensor.shape}"
        )
    if array.size == 0:
        raise RangeError(f"{where} is empty: its shape is {list(array.shape)}")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise NonFiniteError(
            f"{where} holds {np.count_nonzero(~np.isfinite(array))} NaN or infinite numbers"
        )
    return converted


def _converted(array: npt.NDArray[Any], dtype: tf.DType, where: str) -> npt.NDArray[Any]:
    wanted = np.dtype(dtype.as_numpy_dtype)
    if np.can_cast(array.dtype, wanted, "safe"):
        return array.astype(wanted, copy=False)
    if array.dtype.kind not in "biuf":
        raise RangeError(f"{where} has the type {array.dtype}; the model takes {dtype.name}")
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(wanted)
    if wanted.kind in "biu":
        fits = np.array_equal(converted, array)
    else:
        fits = bool((np.isfinite(converted) | ~np.isfinite(array)).all())
    if not fits:
        raise RangeError(f"{where} ({array.dtype}) does not fit into {dtype.name}")
    return converted
