"""What a user asks for: bits, mode and strategy of each layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import attrs

from graphquant_core.arguments import as_integer, checked_bool, checked_integer
from graphquant_core.exceptions import BitsError, ConfigError, UnknownNameError
from graphquant_core.grid import Grid
from graphquant_core.layer import Layer
from graphquant_core.listing import brief_repr, choices
from graphquant_core.plan import Plan
from graphquant_core.suggestions import closest
from graphquant_export.quantized.weight_groups import SMALLEST_BLOCK
from graphquant_wq.strategies.limits import MAX_WEIGHT_BITS, MIN_WEIGHT_BITS

STARTS = ("auto", "mse", "keep")


@attrs.frozen
class LayerSettings:
    """How one weight is quantised.

    Attributes:
        bits: 2 to 8.
        asymmetric: Whether a group has a minimum of its own.
        strategy: Name of the strategy.
        block_size: Input channels of a group, 0 for whole output channels.
    """

    bits: int
    asymmetric: bool
    strategy: str
    block_size: int

    @property
    def grid(self) -> Grid:
        """The integers: narrow when symmetric."""
        return Grid(self.bits, narrow=not self.asymmetric)


@attrs.frozen
class Settings:
    """What a `WeightQuantizer` was asked for, checked."""

    default: LayerSettings
    layer_bits: tuple[tuple[str, int], ...]
    skip_layers: tuple[str, ...]
    start: str
    keep_zeros: bool

    def of(self, layer: Layer) -> LayerSettings | None:
        """Settings of `layer`; ``None`` when it is left out. The last pattern that fits counts."""
        if any(fnmatchcase(layer.name, pattern) for pattern in self.skip_layers):
            return None
        bits = self.default.bits
        for pattern, given in self.layer_bits:
            if fnmatchcase(layer.name, pattern):
                bits = given
        return attrs.evolve(self.default, bits=bits)

    def names_bits_of(self, layer: Layer) -> bool:
        """Whether the user gave `layer` bits of its own."""
        return any(fnmatchcase(layer.name, pattern) for pattern, _ in self.layer_bits)

    def check_names(self, plan: Plan) -> None:
        """Return when every pattern names a layer of `plan`.

        Raises:
            UnknownNameError: One names none; says why it is skipped, or the closest name.
        """
        given = [("layer_bits", pattern) for pattern, _ in self.layer_bits]
        given += [("skip_layers", pattern) for pattern in self.skip_layers]
        names = [layer.name for layer in plan.layers]
        for argument, pattern in given:
            if any(fnmatchcase(name, pattern) for name in names):
                continue
            skips = [skip for skip in plan.skips if fnmatchcase(skip.name, pattern)]
            if skips and argument == "skip_layers":
                continue
            reason = f"; it stays float: {skips[0].reason}" if skips else closest(pattern, names)
            raise UnknownNameError(f'{argument}: no layer is called "{pattern}"{reason}')


def checked_settings(
    bits: int,
    asymmetric: bool,
    strategy: str,
    layer_bits: Mapping[str, int] | None,
    skip_layers: Iterable[str],
    block_size: int,
    start: str,
    keep_zeros: bool,
) -> Settings:
    """The arguments of a `WeightQuantizer`, each checked.

    Raises:
        BitsError: A number of bits is not an integer from 2 to 8.
        ConfigError: Another argument has a wrong value.
    """
    if layer_bits is not None and not isinstance(layer_bits, Mapping):
        raise ConfigError(
            f"layer_bits ({brief_repr(layer_bits)}) must be a dict of layer names and bits"
        )
    if isinstance(skip_layers, str):
        raise ConfigError(f"skip_layers ({brief_repr(skip_layers)}) must be a list of layer names")
    if start not in STARTS:
        raise ConfigError(f"start ({brief_repr(start)}) must be one of {choices(STARTS)}")
    default = LayerSettings(
        _bits("bits", bits),
        checked_bool("asymmetric", asymmetric),
        _text("strategy", strategy),
        _block_size(block_size),
    )
    chosen = tuple(
        (_text("layer_bits", name), _bits(f'layer_bits["{name}"]', given))
        for name, given in (layer_bits or {}).items()
    )
    skipped = tuple(_text("skip_layers", name) for name in skip_layers)
    return Settings(default, chosen, skipped, start, checked_bool("keep_zeros", keep_zeros))


def _bits(argument: str, bits: Any) -> int:
    return checked_integer(argument, bits, MIN_WEIGHT_BITS, MAX_WEIGHT_BITS, BitsError)


def _text(argument: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{argument} ({brief_repr(value)}) must be a text that is not empty")
    return value


def _block_size(value: Any) -> int:
    size = as_integer(value)
    if size is None or (size != 0 and size < SMALLEST_BLOCK):
        raise ConfigError(
            f"block_size ({brief_repr(value)}) must be 0 or an integer of at least {SMALLEST_BLOCK}"
        )
    return size
