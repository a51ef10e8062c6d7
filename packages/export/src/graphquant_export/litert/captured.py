"""Keeps what native code prints off the user's terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def captured_output() -> Iterator[None]:
    """Logs what the process prints meanwhile, native libraries included, line by line as DEBUG."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    with tempfile.TemporaryFile() as printed:
        saved = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
        try:
            for descriptor in saved:
                os.dup2(printed.fileno(), descriptor)
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            for descriptor, copy in saved.items():
                os.dup2(copy, descriptor)
                os.close(copy)
            printed.seek(0)
            for line in printed.read().decode(errors="replace").splitlines():
                logger.debug("%s", line)
