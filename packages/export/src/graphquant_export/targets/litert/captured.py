"""Keeps what native code prints off the user's terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

logger = logging.getLogger(__name__)

# The descriptors belong to the process: two threads that take them must not give them back crossed.
_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def captured_output() -> Iterator[None]:
    """Logs what the process prints meanwhile, native libraries included, line by line as DEBUG."""
    with _one_at_a_time, tempfile.TemporaryFile() as printed:
        saved: dict[int, int] = {}
        _flush()
        try:
            for descriptor in (1, 2):
                # A service may run with its output closed.
                with contextlib.suppress(OSError):
                    saved[descriptor] = os.dup(descriptor)
                    os.dup2(printed.fileno(), descriptor)
            yield
        finally:
            _flush()
            for descriptor, copy in saved.items():
                os.dup2(copy, descriptor)
                os.close(copy)
            printed.seek(0)
            for line in printed.read().decode(errors="replace").splitlines():
                logger.debug("%s", line)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
