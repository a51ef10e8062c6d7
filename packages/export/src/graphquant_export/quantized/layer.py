"""One layer of a quantised model."""

from __future__ import annotations

from typing import TypeVar

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.channels import per_channel_shape
from graphquant_core.layer import Layer
from graphquant_core.record import LayerFactors
from graphquant_export.quantized.find_layers import LayerPlace
from graphquant_export.quantized.integers import Float32Array
from graphquant_export.quantized.layer_integers import LayerIntegers

Number = TypeVar("Number", bound=np.generic)


@attrs.frozen(eq=False)
class QuantizedLayer:
    """A layer with its integers.

    Attributes:
        place: Where it stands in the frozen graph.
        factors: Its entry in the record.
        integers: What it computes with.
    """

    place: LayerPlace
    factors: LayerFactors
    integers: LayerIntegers

    @property
    def layer(self) -> Layer:
        """Its description."""
        return self.place.layer

    @property
    def name(self) -> str:
        """Its name in the record."""
        return self.place.layer.name

    @property
    def op(self) -> tf.Operation:
        """Its op in the frozen graph."""
        return self.place.op

    @property
    def last(self) -> tf.Tensor:
        """What the last step that its integers hold returns; without steps, its op."""
        steps = self.integers.steps
        return steps[-1].output if steps else self.op.outputs[0]

    @property
    def weight_axes(self) -> tuple[int, ...]:
        """Axes of the weight whose row-major product is the scales; ``()`` for one scale."""
        scale_w = self.factors.scale_w
        return self.layer.weight_channel_axes if scale_w is not None and len(scale_w) > 1 else ()

    @property
    def weight_codes(self) -> npt.NDArray[np.int8]:
        """int8 in the shape of the weight, of a layer that has one."""
        assert self.integers.weight is not None
        return self.integers.weight

    @property
    def bias_codes(self) -> npt.NDArray[np.int32]:
        """int32 ``[C]``, of a layer that has a bias."""
        assert self.integers.bias is not None
        return self.integers.bias

    def float_weight(self) -> Float32Array:
        """codes * scale_w, float32, of a layer that has a weight."""
        codes, scale_w = self.weight_codes, self.factors.scale_w
        assert scale_w is not None
        shape = per_channel_shape(codes.shape, self.weight_axes)
        return np.asarray(codes.astype(np.float32) * scale_w.reshape(shape), np.float32)

    def float_bias(self) -> Float32Array:
        """codes * scale, float32 ``[C]``, of a layer that has a bias."""
        exact = self.bias_codes.astype(np.float64) * self.integers.scale.astype(np.float64)
        return exact.astype(np.float32)

    @property
    def data_format(self) -> str | None:
        """``"NHWC"`` when its channels are the last axis of its result, ``"NCHW"`` the second.

        ``None`` for any other axis.
        """
        rank = self.op.outputs[0].shape.rank
        axis = self.layer.output_channel_axis
        if rank is None:
            return "NCHW" if self.layer.data_format.startswith("NC") else "NHWC"
        if axis % rank == rank - 1:
            return "NHWC"
        return "NCHW" if axis % rank == 1 else None

    def along_channels(self, values: npt.NDArray[Number]) -> npt.NDArray[Number]:
        """`values`, ``[1]`` or ``[C]``, in the shape in which they broadcast to its result."""
        rank = self.op.outputs[0].shape.rank
        if rank is not None:
            behind = rank - 1 - self.layer.output_channel_axis % rank
        else:
            behind = len(self.layer.data_format) - 2 if self.data_format == "NCHW" else 0
        return values.reshape([-1, *[1] * behind])
