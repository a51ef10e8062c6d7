"""A folder of images as samples: decoded, resized and scaled once, and left in a temporary file."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import attrs
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from graphquant_core.exceptions import ConfigError, ModelFileError
from graphquant_core.graph.frozen import cpu_session
from graphquant_export.inputs.brief import brief
from graphquant_export.inputs.image_input import ImageInput
from graphquant_export.inputs.temporary_array import map_array, write_temporary

v1 = tf.compat.v1
logger = logging.getLogger(__name__)


def load_images(
    folder: str | os.PathLike[str],
    taken: ImageInput,
    image_range: Sequence[float] | None,
    argument: str,
) -> npt.NDArray[Any]:
    """The images in `folder` and its subfolders in the order of their paths, as `taken` takes them.

    Their 0 to 255 become the two values of `image_range`, in a straight line. One of another size
    is resized, bilinear and with antialiasing, whatever its ratio of height to width.

    Args:
        folder: The folder; what begins with a dot in it is left out.
        taken: The input that they are for.
        image_range: What 0 and 255 become; by default 0 and 1, which is logged as a warning, or
            0 and 255 for an input of integers.
        argument: What error messages call `folder`.

    Raises:
        ModelFileError: There is no file, or one is no image; names it.
        ConfigError: An image has another number of channels; names it. `image_range` is none.
        FileWriteError: There is no room for the decoded images.
    """
    low, high = taken.checked_range(image_range)
    files = _files(folder, argument)
    decoder = _Decoder(taken, low, high)
    what = f"{argument} ({folder}): the {len(files)} decoded images"

    def write(file: IO[bytes]) -> None:
        with cpu_session(decoder.graph) as session:
            for path in files:
                file.write(decoder.decoded(session, path, argument).tobytes())

    with write_temporary(write, what) as written:
        found = map_array(written, taken.dtype, (len(files), *taken.shape))
    height, width, _ = taken.sizes
    said = (
        f"{argument} ({folder}): {len(files)} images of {height} x {width}, whose 0 to 255 became"
    )
    if image_range is None and taken.dtype.kind == "f":
        logger.warning("%s %g to %g: image_range sets other values", said, low, high)
    else:
        logger.info("%s %g to %g", said, low, high)
    return found


def _files(folder: str | os.PathLike[str], argument: str) -> list[Path]:
    def seen() -> Iterator[Path]:
        for found, folders, names in os.walk(folder):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield from (Path(found, name) for name in names if not name.startswith("."))

    files = sorted(seen())
    if not files:
        raise ModelFileError(
            f"{argument} ({folder}) is a folder without files; images are expected"
        )
    return files


@attrs.define(eq=False, init=False)
class _Decoder:
    """Decodes in a graph of its own, which works whether or not eager execution is on."""

    taken: ImageInput
    graph: tf.Graph
    _content: tf.Tensor
    _fetched: tuple[tf.Tensor, tf.Tensor]

    def __init__(self, taken: ImageInput, low: float, high: float) -> None:
        height, width, _ = taken.sizes
        with tf.Graph().as_default() as graph:
            content = v1.placeholder(tf.string, [])
            image = tf.io.decode_image(content, expand_animations=False)
            image.set_shape([None, None, None])
            # A mismatch of channels is told by the shape that is fetched beside it.
            resized = tf.image.resize(image, [height, width], antialias=True)
            scaled = low + resized * ((high - low) / 255)
            if taken.channels_first:
                scaled = tf.transpose(scaled, [2, 0, 1])
            fetched = (tf.shape(image), scaled)
        self.__attrs_init__(taken, graph, content, fetched)

    def decoded(self, session: tf.compat.v1.Session, path: Path, argument: str) -> npt.NDArray[Any]:
        """The image at `path` in the input's shape and type."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ModelFileError(
                f"{argument} ({path}) cannot be read: {error.strerror or error}"
            ) from error
        try:
            shape, image = session.run(self._fetched, {self._content: content})
        except tf.errors.OpError as error:
            raise ModelFileError(
                f"{argument} ({path}) is no image: a folder of samples may hold JPEG, PNG, BMP and "
                f"GIF files alone: {brief(error)}"
            ) from error
        channels = self.taken.sizes[2]
        if shape[2] != channels:
            raise ConfigError(
                f'{argument} ({path}) has {_counted(shape[2])}; "{self.taken.name}" takes '
                f"{channels}: convert it, or give the samples as a .npy"
            )
        if self.taken.dtype.kind != "f":
            image = np.rint(image)
        return image.astype(self.taken.dtype)


def _counted(channels: int) -> str:
    return "1 channel" if channels == 1 else f"{channels} channels"
