"""Python's cyclic garbage collection, which finds nothing in a graph that grows."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused_collection() -> Iterator[None]:
    """No cyclic garbage is collected in the block.

    New ops set the collector off, which then walks all ops of the graph: time that grows faster
    than the graph does.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
