"""The configuration that a graph gets when its user says nothing about it."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from graphquant_core.exceptions import NoLayersError
from graphquant_core.layer import Layer
from graphquant_core.plan import Plan
from graphquant_qat.config.model import ActivationConfig, LayerConfig, RetrainConfig, WeightConfig
from graphquant_qat.config.rules import channel_wise_allowed


def default_config(plan: Plan, softmax_layers: Collection[str] = frozenset()) -> RetrainConfig:
    """Every layer of `plan` quantised to INT8 by ULQ and ARQ, over one batch.

    The weight has one scale for each output channel, except for MatMul and for the layers that
    `softmax_layers` names: a softmax compares the channels with each other, so they share one.

    Raises:
        NoLayersError: `plan` has no layer; names the first op that was skipped and why.
    """
    check_has_layers(plan)
    layers = {
        layer.name: default_layer(
            layer, retrain_enable=True, feeds_softmax=layer.name in softmax_layers
        )
        for layer in plan.layers
    }
    return RetrainConfig(batch_num=1, layers=layers)


def default_layer(
    layer: Layer, *, retrain_enable: bool, feeds_softmax: bool = False
) -> LayerConfig:
    """The default configuration of one layer."""
    weight = None
    if layer.weight_port is not None:
        weight = WeightConfig(channel_wise=channel_wise_allowed(layer) and not feeds_softmax)
    return LayerConfig(retrain_enable, ActivationConfig(), weight)


def check_has_layers(plan: Plan) -> None:
    """Refuses a plan of which nothing can be quantised.

    Raises:
        NoLayersError: `plan` has no layer; names the first op that was skipped and why.
    """
    if plan.layers:
        return
    reason = ""
    if plan.skips:
        first = plan.skips[0]
        reason = f': {len(plan.skips)} skipped, such as "{first.name}" ({first.reason})'
    raise NoLayersError(f"the graph has no layer that can be quantised{reason}")


def check_enabled(layers: Mapping[str, LayerConfig], file: str) -> None:
    """Refuses a configuration that leaves every layer off.

    Raises:
        NoLayersError: no layer is enabled; names `file`.
    """
    if not any(layer.retrain_enable for layer in layers.values()):
        raise NoLayersError(f"{file}: no layer has retrain_enable true, so nothing is quantised")
