"""What a user wants of a tuned model: bits, a size, or a quality."""

from __future__ import annotations

import re
from typing import Any

import attrs

from graphquant_core.exceptions import BitsError, ConfigError
from graphquant_tune.quality import Quality

UNITS = {"": 1, "b": 1, "kb": 1000, "mb": 1000**2, "kib": 1024, "mib": 1024**2}
_NUMBER = re.compile(r"\s*([0-9]*\.?[0-9]+)\s*([A-Za-z%]*)\s*")


def size_in_bytes(size: Any, float_bytes: int) -> int:
    """Bytes that `size` means: a number, ``"90kB"``, or a share of the float graph, ``"12%"``.

    Args:
        size: What the user said.
        float_bytes: Bytes of the float model.

    Raises:
        ConfigError: It is none of these, or nothing is left.
    """
    number, unit = _parse("size", size, "a number of bytes, such as 90kB, or a share such as 12%")
    if unit == "%":
        found = int(number / 100 * float_bytes)
    elif unit.lower() in UNITS:
        found = int(number * UNITS[unit.lower()])
    else:
        raise ConfigError(f"size ({size!r}): the unit must be B, kB, MB, kiB, MiB or %")
    if found < 1:
        raise ConfigError(f"size ({size!r}) must be at least one byte")
    return found


@attrs.frozen
class Within:
    """How far the outputs may be from the float model's.

    Attributes:
        said: What the user said.
        sqnr: Least signal-to-noise ratio in dB; ``None`` when agreement counts.
        agreement: Least share of rows with the same class; ``None`` when dB count.
    """

    said: str
    sqnr: float | None
    agreement: float | None

    def holds(self, quality: Quality) -> bool:
        """Whether a model of `quality` is within.

        Raises:
            ConfigError: Agreement counts, and the model gives no class scores.
        """
        if self.sqnr is not None:
            return quality.sqnr >= self.sqnr
        if quality.agreement is None:
            raise ConfigError(
                f"within ({self.said}): the model's outputs are no class scores; say it in dB, "
                "such as 30dB"
            )
        assert self.agreement is not None
        return quality.agreement >= self.agreement


def parse_within(within: Any) -> Within:
    """``"30dB"`` is a signal-to-noise ratio of 30 dB, ``"1%"`` at most 1 of 100 answers changed.

    Raises:
        ConfigError: It is neither.
    """
    allowed = "a ratio such as 30dB, or a share of answers that may change, such as 1%"
    number, unit = _parse("within", within, allowed)
    if unit.lower() == "db":
        return Within(str(within), number, None)
    if unit == "%" and number <= 100:
        return Within(str(within), None, 1 - number / 100)
    raise ConfigError(f"within ({within!r}) must be {allowed}")


def unreachable(within: Within, with_what: str, best: Quality) -> str:
    """What an error says of a quality that can't be reached, and how near one comes."""
    same = "" if best.agreement is None else f" and {best.agreement:.2%} same answers"
    return (
        f"within ({within.said}) cannot be reached: with {with_what} the outputs have "
        f"{best.sqnr:.1f} dB{same}"
    )


@attrs.frozen
class Goal:
    """What is wanted: one of these.

    Attributes:
        bits: Bits of every weight.
        size: Bytes of the target's file; ``None`` when something else counts.
        within: Quality of the outputs, likewise.
    """

    bits: int
    size: int | None = None
    within: Within | None = None

    @property
    def is_mixed(self) -> bool:
        """Whether layers get different bits, by what they cost."""
        return self.size is not None or self.within is not None


def checked_bits(bits: Any) -> int:
    """`bits` as an int.

    Raises:
        BitsError: It is no integer from 2 to 8.
    """
    if isinstance(bits, bool) or not hasattr(bits, "__index__") or not 2 <= int(bits) <= 8:
        raise BitsError(f"bits ({bits!r}) must be an integer from 2 to 8")
    return int(bits)


def _parse(argument: str, value: Any, allowed: str) -> tuple[float, str]:
    found = _NUMBER.fullmatch(str(value)) if not isinstance(value, bool) else None
    if found is None:
        raise ConfigError(f"{argument} ({value!r}) must be {allowed}")
    return float(found[1]), found[2]
