"""The configuration that a graph gets without a word from its user."""

from __future__ import annotations

import pytest

from graphquant_core.exceptions import ConfigError, NoLayersError
from graphquant_core.layer import Layer, Skip
from graphquant_core.plan import Plan
from graphquant_qat.config.defaults import default_config
from graphquant_qat.config.json_form import format_config
from graphquant_qat.config.model import ActivationConfig, LayerConfig, RetrainConfig, WeightConfig

DEFAULT = """\
{
    "version":1,
    "batch_num":1,
    "conv1/Conv2D":{
        "retrain_enable":true,
        "retrain_data_config":{
            "algo":"ulq_quantize",
            "dst_type":"INT8"
        },
        "retrain_weight_config":{
            "algo":"arq_retrain",
            "channel_wise":true,
            "dst_type":"INT8"
        }
    },
    "pool/AvgPool":{
        "retrain_enable":true,
        "retrain_data_config":{
            "algo":"ulq_quantize",
            "dst_type":"INT8"
        }
    },
    "fc/MatMul":{
        "retrain_enable":true,
        "retrain_data_config":{
            "algo":"ulq_quantize",
            "dst_type":"INT8"
        },
        "retrain_weight_config":{
            "algo":"arq_retrain",
            "channel_wise":false,
            "dst_type":"INT8"
        }
    },
    "logits/Conv2D":{
        "retrain_enable":true,
        "retrain_data_config":{
            "algo":"ulq_quantize",
            "dst_type":"INT8"
        },
        "retrain_weight_config":{
            "algo":"arq_retrain",
            "channel_wise":false,
            "dst_type":"INT8"
        }
    }
}"""

FULL = """\
{
    "version":1,
    "batch_num":7,
    "conv1/Conv2D":{
        "retrain_enable":false,
        "retrain_data_config":{
            "algo":"ulq_quantize",
            "clip_max":3.0,
            "clip_min":-0.3,
            "fixed_min":false,
            "dst_type":"INT8"
        },
        "retrain_weight_config":{
            "algo":"ulq_retrain",
            "dst_type":"INT8",
            "channel_wise":true
        }
    }
}"""


def test_the_default_enables_every_layer_in_amcts_format(plan):
    """Default text, byte for byte: plan order, AMCT's key order, one scale where it must be one."""
    assert format_config(default_config(plan, {"logits/Conv2D"})) == DEFAULT


def test_every_key_has_its_place():
    """clip_max, clip_min and fixed_min stand before dst_type; ulq_retrain has dst_type first."""
    activation = ActivationConfig(clip_max=3.0, clip_min=-0.3, fixed_min=False)
    layer = LayerConfig(False, activation, WeightConfig("ulq_retrain"))
    assert format_config(RetrainConfig(7, {"conv1/Conv2D": layer})) == FULL


def test_enabled_names_the_layers_that_are_quantised_in_plan_order(plan):
    """enabled holds the names whose retrain_enable is true, in the order of the plan."""
    config = default_config(plan)
    assert config.enabled == ("conv1/Conv2D", "pool/AvgPool", "fc/MatMul", "logits/Conv2D")


def test_a_plan_without_layers_has_no_configuration_and_the_reason_is_named():
    """No layer: NoLayersError with the first op that was skipped and why."""
    skips = Plan((Skip("fc/MatMul", "MatMul", "transpose_a (True) must be False"),))
    with pytest.raises(NoLayersError, match=r'"fc/MatMul" \(transpose_a \(True\) must be False\)'):
        default_config(skips)
    with pytest.raises(NoLayersError, match="no layer that can be quantised"):
        default_config(Plan(()))


@pytest.mark.parametrize("name", ["version", "batch_num"])
def test_a_layer_with_the_name_of_a_global_key_cannot_be_written(name):
    """A layer called "version" would be read back as the version: ConfigError, not a bad file."""
    config = default_config(Plan((Layer(name, "AvgPool", activation_port=0),)))
    with pytest.raises(ConfigError, match=f'layer "{name}" cannot stand in a configuration'):
        format_config(config)
