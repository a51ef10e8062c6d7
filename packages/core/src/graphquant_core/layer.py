"""What a layer handler says of an op: a layer to quantise, or a skip with its reason."""

from __future__ import annotations

import attrs


@attrs.frozen
class Layer:
    """An op that is linear in its activation and in its weight: y = f(x, w), f bilinear.

    Everything that quantisation needs follows from these fields, for third-party ops too.

    Attributes:
        name: Name of the op.
        op_type: Type of the op, such as ``"Conv2D"``.
        activation_port: Index of the input that carries the activation.
        weight_port: Index of the input that carries the weight; ``None`` when the op has none.
        weight_shape: Static shape of that input, such as ``(3, 3, 16, 32)``.
        weight_channel_axes: Axes of the weight whose row-major product is the output channels:
            ``(3,)`` for Conv2D, ``(2, 3)`` for a depthwise weight ``[kh, kw, C, multiplier]``.
        output_channel_axis: Axis of the op's first output that holds the channels.
        input_channels: Channels of the activation, ``None`` when not static.
        data_format: Value of the op's attribute of that name, such as ``"NHWC"``; ``""`` for an
            op that has none.
        weight_source: Name of the variable or constant behind the weight port; the planner
            fills it in.
        advice: Sentences worth a user's attention that don't stop the quantisation.
        weight_input_axis: Axis of the weight that runs along the channels of the activation, ``2``
            for Conv2D: scaling a channel there and by the inverse in the activation changes
            nothing. ``None`` where there is none, as in a convolution in groups.
        one_weight_scale: Whether its whole weight has one scale in a record of AMCT's, as that of
            a MatMul has. A target may take one for each output channel all the same.
    """

    name: str
    op_type: str
    activation_port: int
    weight_port: int | None = None
    weight_shape: tuple[int, ...] | None = None
    weight_channel_axes: tuple[int, ...] = ()
    output_channel_axis: int = -1
    input_channels: int | None = None
    data_format: str = ""
    weight_source: str | None = None
    advice: tuple[str, ...] = ()
    weight_input_axis: int | None = None
    one_weight_scale: bool = False

    @property
    def output_channels(self) -> int | None:
        """Number of output channels that the weight has; ``None`` for a layer without weight."""
        if self.weight_shape is None:
            return None
        count = 1
        for axis in self.weight_channel_axes:
            count *= self.weight_shape[axis]
        return count

    @property
    def kernel_type(self) -> str:
        """Type of the op whose kernel runtimes give it: `op_type`, but for one kind.

        A Conv2D with as many groups as channels, and one filter for each, is depthwise.
        """
        shape, channels = self.weight_shape, self.input_channels
        if self.op_type == "Conv2D" and shape and channels and channels > 1:
            return "DepthwiseConv2dNative" if shape[2:] == (1, channels) else self.op_type
        return self.op_type

    @property
    def input_channel_axis(self) -> int:
        """Axis of the activation that holds its channels: 1 or the last one."""
        return 1 if self.data_format.startswith("NC") else -1

    @property
    def fan_in(self) -> int | None:
        """Products summed for one output value; ``None`` for a layer without weight."""
        channels = self.output_channels
        if self.weight_shape is None or not channels:
            return None
        total = 1
        for size in self.weight_shape:
            total *= size
        return total // channels


@attrs.frozen
class Skip:
    """An op of a supported type that stays float, and why.

    Attributes:
        name: Name of the op; ``function/op`` for one inside a function body.
        op_type: Type of the op.
        reason: A sentence that a user can act on.
    """

    name: str
    op_type: str
    reason: str


@attrs.frozen
class Aside(Skip):
    """A skip of an op that is no layer of the model, such as one that computes gradients."""
