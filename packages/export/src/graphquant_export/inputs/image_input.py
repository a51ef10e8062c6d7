"""An input of a model that takes images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from graphquant_core.exceptions import ConfigError
from graphquant_core.listing import listed_names

if TYPE_CHECKING:
    from graphquant_export.inputs.loaded_model import LoadedModel

CHANNELS = (1, 3, 4)
"""Channels that image files have."""


@attrs.frozen
class ImageInput:
    """What an input takes.

    Attributes:
        name: Its name.
        sizes: Height, width and channels.
        channels_first: Whether an image is ``[C, H, W]`` there.
        dtype: Its type.
    """

    name: str
    sizes: tuple[int, int, int]
    channels_first: bool
    dtype: np.dtype[Any]

    @property
    def shape(self) -> tuple[int, int, int]:
        """That of one image."""
        height, width, channels = self.sizes
        return (channels, height, width) if self.channels_first else self.sizes

    def checked_range(self, image_range: Sequence[float] | None) -> tuple[float, float]:
        """What 0 and 255 of an image become: `image_range`, or what is usual for the type.

        Raises:
            ConfigError: It isn't two different numbers, or the type of the input can't hold it.
        """
        is_float = self.dtype.kind == "f"
        if image_range is None:
            return (0.0, 1.0) if is_float else (0.0, 255.0)
        try:
            low, high = (float(value) for value in image_range)
        except (TypeError, ValueError):
            low = high = np.nan
        if not (np.isfinite(low) and np.isfinite(high) and low != high):
            raise ConfigError(
                f"image_range ({image_range!r}) must be two numbers, what 0 and 255 become, such "
                "as 0,1 or -1,1"
            )
        if not is_float:
            limits = np.iinfo(self.dtype)
            if min(low, high) < limits.min or max(low, high) > limits.max:
                raise ConfigError(
                    f'image_range ({low:g}, {high:g}) does not fit into {self.dtype}, which "'
                    f'{self.name}" takes'
                )
        return low, high


def image_input(model: LoadedModel, argument: str) -> ImageInput:
    """The only input of `model`, which must take images of a fixed size.

    Raises:
        ConfigError: There are several inputs, or it takes something else; says what to do.
    """
    if len(model.inputs) != 1:
        raise ConfigError(
            f"{argument} is a folder of images, but the model has several inputs "
            f"({listed_names(model.inputs)}): give a .npz with an array under each of these names"
        )
    (name,) = model.inputs
    tensor = model.graph().get_operation_by_name(name).outputs[0]
    shape = tensor.shape.as_list() if tensor.shape.rank == 4 else [None] * 4
    channels_first = shape[1] in CHANNELS and shape[3] not in CHANNELS
    height, width = shape[2:] if channels_first else shape[1:3]
    channels = shape[1] if channels_first else shape[3]
    dtype = np.dtype(tensor.dtype.as_numpy_dtype)
    if channels not in CHANNELS or dtype.kind not in "fiu":
        raise ConfigError(
            f'{argument} is a folder of images, but "{name}" takes {tensor.dtype.name} '
            f"{tensor.shape}: give the samples as a .npy"
        )
    if height is None or width is None:
        sizes = f"{channels},224,224" if channels_first else f"224,224,{channels}"
        raise ConfigError(
            f'{argument} is a folder of images, but the height and the width of "{name}" are open '
            f"({tensor.shape}): fix them by input_shapes, such as {name}=?,{sizes}"
        )
    return ImageInput(name, (height, width, channels), channels_first, dtype)
