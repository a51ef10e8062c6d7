"""What a target's file weighs for an allocation of bits, from files that it has written."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from graphquant_core.exceptions import ConfigError
from graphquant_core.quiet import nothing_said
from graphquant_tune.allocation import Bits, first_that

MOST_FILES = 6
"""Files that are written to find the allocation that fits; two are mostly enough."""


def artifact_size(export: Callable[[Path], Any]) -> int:
    """Bytes of the main file that `export` writes; names start with the path that it is given."""
    with tempfile.TemporaryDirectory() as folder, nothing_said("graphquant_export"):
        size: int = export(Path(folder) / "model").paths[0].stat().st_size
        return size


@attrs.frozen
class Sizes:
    """Sizes of a target's file whose layers all have the same width.

    Attributes:
        uniform: Bytes, by bits.
        weights: Number of weights of each layer.
    """

    uniform: Mapping[int, int]
    weights: Mapping[str, int]

    @property
    def widths(self) -> tuple[int, ...]:
        """The widths that make the file smaller than every wider one does, the widest first."""
        found: list[int] = []
        for bits in sorted(self.uniform, reverse=True):
            if not found or self.uniform[bits] < self.uniform[found[-1]]:
                found.append(bits)
        return tuple(found)

    def estimate(self, bits: Bits) -> float:
        """Bytes of the file with `bits`: the uniform sizes, each by its share of the weights."""
        total = sum(self.weights.values())
        return sum(self.weights[name] / total * self.uniform[b] for name, b in bits.items())


def largest_within(
    path: Sequence[Bits], size: int, sizes: Sizes, measure: Callable[[Bits], int]
) -> tuple[Bits, int]:
    """(the first allocation of `path` whose file really weighs at most `size` bytes, its size).

    Args:
        path: Allocations, the largest first.
        size: Bytes.
        sizes: Sizes of uniform files.
        measure: Writes the file of an allocation, and returns its bytes.

    Raises:
        ConfigError: The smallest is larger; says by how much.
    """
    excess = 0.0
    for _ in range(MOST_FILES):
        wanted = size - excess
        bits = first_that(path, lambda bits: sizes.estimate(bits) <= wanted)  # noqa: B023 used now
        bits = path[-1] if bits is None else bits
        found = measure(bits)
        if found <= size:
            return bits, found
        if bits == path[-1]:
            break
        excess = max(excess, found - sizes.estimate(bits) + 1)
    bits = path[-1]
    found = measure(bits)
    if found > size:
        raise ConfigError(f"size ({size} bytes) cannot be reached: the smallest has {found}")
    return bits, found
