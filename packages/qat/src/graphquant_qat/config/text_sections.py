"""The two sections of a retrain definition that say how an activation and a weight are quantised.

They stand at the top, for every layer, and in each override.
"""

from __future__ import annotations

import logging
from typing import Any

import attrs
import numpy as np

from graphquant_core.exceptions import ConfigError
from graphquant_core.layer import Layer
from graphquant_qat.config import rules
from graphquant_qat.config.model import ActivationConfig, WeightConfig
from graphquant_qat.config.shown import shown

_log = logging.getLogger(__name__)


@attrs.frozen
class Sections:
    """What the two sections say.

    Attributes:
        activation: How activations are quantised.
        weight_algo: Name of the weight quantiser.
        channel_wise: One scale for each output channel; ``None`` when the text leaves it open.
        place: File and path of the weight's section.
        override: Whether they stand in an override.
    """

    activation: ActivationConfig
    weight_algo: str
    channel_wise: bool | None
    place: str
    override: bool

    def weight(self, layer: Layer, *, enabled: bool, feeds_softmax: bool) -> WeightConfig | None:
        """How the weight of `layer` is quantised; ``None`` when it has none.

        Raises:
            ConfigError: `layer` is enabled and told to be channel-wise, and can't be.
        """
        allowed = rules.channel_wise_allowed(layer)
        # What the top says of weights is not meant for a layer that has none.
        addressed = enabled and (self.override or layer.weight_port is not None)
        if self.channel_wise and addressed and not allowed:
            raise ConfigError(
                f"{self.place}.channel_wise (true) {rules.channel_wise_refusal(layer)} "
                f'(layer "{layer.name}"); leave it out for the default of each layer'
            )
        if layer.weight_port is None:
            return None
        if self.channel_wise and feeds_softmax:
            _log.warning('"%s" feeds a softmax: its weight gets one scale', layer.name)
        channel_wise = allowed and not feeds_softmax and self.channel_wise is not False
        return WeightConfig(self.weight_algo, channel_wise)


def read_sections(message: Any, file: str, path: str = "") -> Sections:
    """The sections of `message`, the whole one or an override at `path`, which ends in a dot.

    Raises:
        ConfigError: a clip value or a data type isn't allowed; names `file`, path and value.
    """
    section = message.retrain_weight_quant_config
    algo = section.WhichOneof("weights_retrain_algo") or WeightConfig().algo
    weight = getattr(section, algo)
    place = f"{file}: {path}retrain_weight_quant_config.{algo}"
    _check_dst_type(weight, place)
    return Sections(
        activation=_activation(message, f"{file}: {path}retrain_data_quant_config.ulq_quantize"),
        weight_algo=algo,
        channel_wise=weight.channel_wise if weight.HasField("channel_wise") else None,
        place=place,
        override=bool(path),
    )


def _activation(message: Any, place: str) -> ActivationConfig:
    stated = message.retrain_data_quant_config.ulq_quantize
    _check_dst_type(stated, place)
    fixed_min = stated.fixed_min if stated.HasField("fixed_min") else None
    if not stated.HasField("clip_max_min"):
        return ActivationConfig(fixed_min=fixed_min)
    clip_max = _shortest(stated.clip_max_min.clip_max)
    clip_min = _shortest(stated.clip_max_min.clip_min)
    for name, value in (("clip_max", clip_max), ("clip_min", clip_min)):
        refusal = rules.clip_refusal(name, value)
        if refusal:
            raise ConfigError(f"{place}.clip_max_min.{name} ({shown(value)}) {refusal}")
    return ActivationConfig(clip_max=clip_max, clip_min=clip_min, fixed_min=fixed_min)


def _check_dst_type(stated: Any, place: str) -> None:
    types = stated.DESCRIPTOR.fields_by_name["dst_type"].enum_type
    name = types.values_by_number[stated.dst_type].name
    if name != rules.DST_TYPE:
        raise ConfigError(f"{place}.dst_type ({name}) must be {rules.DST_TYPE}")


def _shortest(value: float) -> float:
    """The shortest decimal that is `value` in float32: 0.3 for 0.30000001192092896."""
    return float(str(np.float32(value)))
