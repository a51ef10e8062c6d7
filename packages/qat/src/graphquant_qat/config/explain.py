"""A configuration as a table for people: what each layer gets, and why."""

from __future__ import annotations

from typing import Any

import attrs

from graphquant_core.layer import Layer, Skip
from graphquant_core.listing import sentences
from graphquant_core.plan import Plan
from graphquant_qat.config.model import ActivationConfig, LayerConfig, RetrainConfig, WeightConfig

EXPLANATION_HEADER = ("layer", "type", "quantised", "activation", "weight", "why or advice")


@attrs.frozen
class LayerExplanation:
    """What one layer gets.

    Attributes:
        name: Name of the op.
        op_type: Its type.
        quantized: Whether it is quantised.
        activation: How its activation is, ``""`` when the layer stays float.
        weight: How its weight is, ``""`` when it stays float or there is none.
        reason: Why it stays float, or what is advised.
    """

    name: str
    op_type: str
    quantized: bool
    activation: str = ""
    weight: str = ""
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return attrs.asdict(self)

    def cells(self) -> tuple[str, ...]:
        """Text, with the cells that `EXPLANATION_HEADER` names."""
        quantized = "yes" if self.quantized else "no"
        return (
            self.name,
            self.op_type,
            quantized,
            self.activation or "-",
            self.weight or "-",
            self.reason,
        )


def explain_config(config: RetrainConfig, plan: Plan) -> list[LayerExplanation]:
    """Every row of `plan`, with what `config`, which was read for it, makes of it."""
    return [
        LayerExplanation(row.name, row.op_type, False, reason=row.reason)
        if isinstance(row, Skip)
        else _explain(row, config.layers[row.name], config.batch_num)
        for row in plan.rows
    ]


def _explain(layer: Layer, config: LayerConfig, batch_num: int) -> LayerExplanation:
    if not config.retrain_enable:
        return LayerExplanation(
            layer.name, layer.op_type, False, reason="the configuration switches it off"
        )
    weight = "" if config.weight is None else _weight(layer, config.weight)
    return LayerExplanation(
        layer.name,
        layer.op_type,
        True,
        _activation(config.activation, batch_num),
        weight,
        sentences(layer.advice),
    )


def _activation(config: ActivationConfig, batch_num: int) -> str:
    if config.clip_max is None:
        batches = "first batch" if batch_num == 1 else f"first {batch_num} batches"
        start = f"range from the {batches}"
    else:
        start = f"range from {config.clip_min:g} to {config.clip_max:g}"
    fixed = {None: "", True: ", minimum fixed at 0", False: ", minimum trained"}
    return f"{config.dst_type} {config.algo}, {start}{fixed[config.fixed_min]}"


def _weight(layer: Layer, config: WeightConfig) -> str:
    scales = f"{layer.output_channels} scales" if config.channel_wise else "1 scale"
    return f"{config.dst_type} {config.algo}, {scales}"
