"""Bounds within which a reader has to be done, whatever it is given."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import pytest

from graphquant_core.exceptions import GraphQuantError

CPU_SECONDS = 20
EXTRA_BYTES = 512 * 2**20
LONGEST_MESSAGE = 2000
STATM = Path("/proc/self/statm")


def too_slow(_: int, __: FrameType | None) -> NoReturn:
    raise TimeoutError(f"not done after {CPU_SECONDS} s of CPU time")


@contextlib.contextmanager
def limited_cpu() -> Iterator[None]:
    before = signal.signal(signal.SIGVTALRM, too_slow)
    signal.setitimer(signal.ITIMER_VIRTUAL, CPU_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


@contextlib.contextmanager
def limited_memory() -> Iterator[None]:
    """What asks for more than EXTRA_BYTES gets a MemoryError; only where /proc tells the size."""
    if not STATM.exists():
        yield
        return
    import resource

    pages = int(STATM.read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    limit = pages * resource.getpagesize() + EXTRA_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture(scope="session")
def attempt() -> Callable[[Callable[[], Any]], Any]:
    """``attempt(read)`` is what `read` returns, or the GraphQuantError that it raises.

    It raises TimeoutError or MemoryError instead of taking for ever.
    """

    def run(read: Callable[[], Any]) -> Any:
        try:
            with limited_memory(), limited_cpu():
                return read()
        except GraphQuantError as error:
            refusal = error
        assert len(str(refusal)) < LONGEST_MESSAGE
        return refusal

    return run
