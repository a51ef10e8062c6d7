"""The contract of a layer handler, and what handlers read off an op."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import tensorflow as tf

    from graphquant_core.layer import Layer, Skip


@runtime_checkable
class LayerHandler(Protocol):
    """Says where the activation and the weight of an op stand. It never edits the graph.

    The core resolves what is behind the weight port, checks dtypes, and does all rewriting;
    `graphquant_core.testing.check_handler` tests an implementation.

    Attributes:
        name: Name that the handler is registered under.
        op_types: Op types that the handler describes.
    """

    name: str
    op_types: frozenset[str]

    def describe(self, op: tf.Operation) -> Layer | Skip:
        """The layer that `op` is, or a skip with the reason why it can't be quantised."""
        ...


def static_shape(tensor: tf.Tensor) -> tuple[int | None, ...] | None:
    """Static shape of `tensor` with ``None`` for unknown sizes; ``None`` for unknown rank."""
    return None if tensor.shape.rank is None else tuple(tensor.shape.as_list())


def full_shape(tensor: tf.Tensor) -> tuple[int, ...] | None:
    """Static shape of `tensor`, or ``None`` when any part of it is unknown."""
    shape = static_shape(tensor)
    if shape is None:
        return None
    sizes = tuple(size for size in shape if size is not None)
    return sizes if len(sizes) == len(shape) else None


def text_attribute(op: tf.Operation, name: str) -> str:
    """Value of the string attribute `name` of `op`."""
    value: Any = op.get_attr(name)
    return value.decode() if isinstance(value, bytes) else str(value)


def channel_axis(data_format: str) -> int:
    """Axis of the channels in a rank-4 tensor: 1 for NCHW, 3 for NHWC."""
    return 1 if data_format == "NCHW" else 3


def size_at(tensor: tf.Tensor, axis: int) -> int | None:
    """Static size of `tensor` along `axis`, or ``None``."""
    shape = static_shape(tensor)
    return None if shape is None else shape[axis]
