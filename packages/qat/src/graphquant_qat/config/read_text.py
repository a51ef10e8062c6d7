"""Reading a configuration file as text."""

from __future__ import annotations

import os

from graphquant_core.exceptions import ConfigError
from graphquant_core.files import read_bytes

MAX_BYTES = 64 * 2**20
"""A configuration has about 500 bytes a layer."""


def read_text(path: str | os.PathLike[str], argument: str) -> tuple[str, str]:
    """(text, file): the UTF-8 text at `path`, and how errors about it name the file.

    The second is `argument` with its value, as in ``config_file ("a.json")``.

    Raises:
        ModelFileError: the file can't be read.
        ConfigError: it isn't UTF-8 text.
    """
    content = read_bytes(path, argument, MAX_BYTES)
    file = f'{argument} ("{os.fspath(path)}")'
    try:
        return content.decode("utf-8-sig"), file
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text: byte {error.start}") from None
