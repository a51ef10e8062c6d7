"""One plan with a layer of each kind that a configuration treats differently."""

from __future__ import annotations

import pytest

from graphquant_core.layer import Layer, Skip
from graphquant_core.plan import Plan


@pytest.fixture
def plan():
    return Plan(
        (
            Layer(
                "conv1/Conv2D",
                "Conv2D",
                activation_port=0,
                weight_port=1,
                weight_shape=(3, 3, 32, 64),
                weight_channel_axes=(3,),
            ),
            Layer("pool/AvgPool", "AvgPool", activation_port=0),
            Skip("wide/MatMul", "MatMul", "transpose_b (True) must be False to be quantised"),
            Layer(
                "fc/MatMul",
                "MatMul",
                activation_port=0,
                weight_port=1,
                weight_shape=(64, 10),
                weight_channel_axes=(1,),
                output_channel_axis=1,
                one_weight_scale=True,
            ),
            Layer(
                "logits/Conv2D",
                "Conv2D",
                activation_port=0,
                weight_port=1,
                weight_shape=(1, 1, 64, 10),
                weight_channel_axes=(3,),
            ),
        )
    )
