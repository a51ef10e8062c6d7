"""What a definition in text format makes of a plan, and each way in which it can be wrong."""

from __future__ import annotations

import logging

import pytest

from graphquant_core.exceptions import (
    ConfigError,
    ModelFileError,
    NoLayersError,
    UnknownNameError,
)
from graphquant_core.plan import Plan
from graphquant_qat.config.defaults import default_config
from graphquant_qat.config.model import ActivationConfig, WeightConfig
from graphquant_qat.config.text_form import parse_definition, read_definition

SAMPLE = """\
batch_num: 2
retrain_data_quant_config {
    ulq_quantize {
        dst_type: INT8
    }
}
retrain_weight_quant_config {
    arq_retrain {
        dst_type: INT8
    }
}"""

CLIPS = "ulq_quantize { clip_max_min { clip_max: 0.3 clip_min: -6 } fixed_min: false }"


def test_the_sample_is_the_default_with_its_batch_num(plan, tmp_path):
    """AMCT's sample definition: the default configuration over two batches."""
    path = tmp_path / "sample.cfg"
    path.write_text(SAMPLE)
    config = read_definition(path, plan, {"logits/Conv2D"})
    assert config.batch_num == 2
    assert config.layers == default_config(plan, {"logits/Conv2D"}).layers


def test_an_empty_definition_is_the_default(plan):
    """Nothing said: the default configuration."""
    assert parse_definition("", plan) == default_config(plan)


def test_the_top_sections_hold_for_every_layer(plan):
    """Clips are the shortest decimals of their float32 values; AvgPool has no weight."""
    text = f"""
        retrain_data_quant_config {{ {CLIPS} }}
        retrain_weight_quant_config {{ ulq_retrain {{}} }}"""
    config = parse_definition(text, plan)
    activation = ActivationConfig(clip_max=0.3, clip_min=-6.0, fixed_min=False)
    assert {layer.activation for layer in config.layers.values()} == {activation}
    assert [layer.weight for layer in config.layers.values()] == [
        WeightConfig("ulq_retrain", True),
        None,
        WeightConfig("ulq_retrain", False),
        WeightConfig("ulq_retrain", True),
    ]


def test_a_layer_override_goes_before_a_type_override_before_the_top(plan):
    """Each layer takes both sections from one place: its own, its type's or the top."""
    text = """
        retrain_data_quant_config { ulq_quantize { fixed_min: true } }
        override_layer_types {
            layer_type: "Conv2D"
            retrain_weight_quant_config { ulq_retrain {} }
        }
        override_layer_configs {
            layer_name: "conv1/Conv2D"
            retrain_data_quant_config { ulq_quantize { fixed_min: false } }
            retrain_weight_quant_config { arq_retrain { channel_wise: false } }
        }"""
    layers = parse_definition(text, plan).layers
    assert layers["conv1/Conv2D"].activation == ActivationConfig(fixed_min=False)
    assert layers["conv1/Conv2D"].weight == WeightConfig("arq_retrain", False)
    assert layers["logits/Conv2D"].activation == ActivationConfig()
    assert layers["logits/Conv2D"].weight == WeightConfig("ulq_retrain", True)
    assert layers["fc/MatMul"].activation == ActivationConfig(fixed_min=True)
    assert layers["fc/MatMul"].weight == WeightConfig("arq_retrain", False)


def test_channel_wise_on_a_matmul_is_refused_with_the_way_out(plan):
    """channel_wise: true for a MatMul: ConfigError that names the layer and what to do."""
    text = "retrain_weight_quant_config { arq_retrain { channel_wise: true } }"
    with pytest.raises(ConfigError) as caught:
        parse_definition(text, plan)
    assert str(caught.value) == (
        "config_defination: retrain_weight_quant_config.arq_retrain.channel_wise (true) must be "
        'false: MatMul has one scale for its whole weight (layer "fc/MatMul"); leave it out for '
        "the default of each layer"
    )


@pytest.mark.parametrize("field", ["skip_layers", "quant_skip_layers"])
def test_a_skipped_layer_is_off(plan, field):
    """Both skip fields for layers switch off what they name."""
    config = parse_definition(f'{field}: ["fc/MatMul", "conv1/Conv2D"]', plan)
    assert config.enabled == ("pool/AvgPool", "logits/Conv2D")


@pytest.mark.parametrize("field", ["skip_layer_types", "quant_skip_types"])
def test_a_skipped_type_is_off(plan, field):
    """Both skip fields for types switch off every layer of the type."""
    config = parse_definition(f'{field}: "Conv2D"', plan)
    assert config.enabled == ("pool/AvgPool", "fc/MatMul")


@pytest.mark.parametrize(
    "override",
    [
        'override_layer_configs { layer_name: "conv1/Conv2D" }',
        'override_layer_types { layer_type: "Conv2D" }',
    ],
)
def test_an_override_enables_a_skipped_layer(plan, override):
    """An override, of the layer or of its type, outweighs the skips."""
    text = f'skip_layers: "conv1/Conv2D" quant_skip_types: "Conv2D" {override}'
    assert "conv1/Conv2D" in parse_definition(text, plan).enabled


def test_a_layer_before_a_softmax_has_one_scale_even_when_told_otherwise(plan, caplog):
    """softmax_layers outweigh channel_wise: true, with a warning."""
    text = """override_layer_configs {
        layer_name: "logits/Conv2D"
        retrain_weight_quant_config { arq_retrain { channel_wise: true } }
    }"""
    config = parse_definition(text, plan, {"logits/Conv2D"})
    assert config.layers["logits/Conv2D"].weight == WeightConfig(channel_wise=False)
    assert '"logits/Conv2D" feeds a softmax' in caplog.text


def test_channel_wise_at_the_top_is_for_layers_that_have_a_weight_and_are_on(plan):
    """A MatMul that is skipped and an AvgPool don't stand in the way of channel_wise: true."""
    text = """skip_layers: "fc/MatMul"
        retrain_weight_quant_config { arq_retrain { channel_wise: true } }"""
    layers = parse_definition(text, plan).layers
    assert layers["conv1/Conv2D"].weight == WeightConfig(channel_wise=True)
    assert layers["fc/MatMul"].weight == WeightConfig(channel_wise=False)
    assert layers["pool/AvgPool"].weight is None


def test_a_repeated_skip_is_a_warning(plan, caplog):
    """A name that a skip field holds twice: logged, and off."""
    config = parse_definition('skip_layers: "fc/MatMul" skip_layers: "fc/MatMul"', plan)
    assert "fc/MatMul" not in config.enabled
    assert 'skip_layers names "fc/MatMul" more than once' in caplog.text


def test_skipping_what_stays_float_anyway_is_accepted(plan, caplog):
    """An op that can't be quantised may stand in skip_layers; its reason is logged."""
    with caplog.at_level(logging.INFO):
        config = parse_definition('skip_layers: "wide/MatMul"', plan)
    assert config == default_config(plan)
    assert '"wide/MatMul" is off anyway: transpose_b (True)' in caplog.text


def test_a_supported_type_that_the_graph_lacks_is_a_warning(plan, caplog):
    """A type with a handler and no layer in the graph: accepted, logged."""
    text = 'skip_layer_types: "DepthwiseConv2dNative"'
    assert parse_definition(text, plan) == default_config(plan)
    assert 'no layer of type "DepthwiseConv2dNative"' in caplog.text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "batch_num: 2\nretrain_data_quant_confg {}",
            ', line 2: AMCTRetrainConfig has no field retrain_data_quant_confg; did you mean "',
        ),
        (
            "retrain_data_quant_config {\n ulq_quantize {\n clip_max: 3 } }",
            ', line 3: ActULQquantize has no field clip_max; did you mean "clip_max_min"? (',
        ),
        ("batch_num: 1 \n batch_num: 2", ', line 2: Message type "AMCTRetrainConfig" should not'),
        (
            "retrain_weight_quant_config { arq_retrain {}\n ulq_retrain {} }",
            ', line 2: Field "ulq_retrain" is specified along with field "arq_retrain"',
        ),
        ("retrain_data_quant_config {", ', line 1: Expected "}"'),
        ("batch_num: 0", ": batch_num (0) must be greater than zero"),
        ("batch_num: 4294967295", ": batch_num (4294967295) must be greater than zero and at"),
        ("batch_num: -1", ", line 1: "),
        ("batch_num: 1.5", ", line 1: "),
        ('batch_num: "1"', ", line 1: "),
        (
            "retrain_data_quant_config { ulq_quantize { dst_type: INT16 } }",
            ": retrain_data_quant_config.ulq_quantize.dst_type (INT16) must be INT8",
        ),
        (
            "retrain_weight_quant_config { arq_retrain { dst_type: INT4 } }",
            ": retrain_weight_quant_config.arq_retrain.dst_type (INT4) must be INT8",
        ),
        (
            "retrain_weight_quant_config { ulq_retrain { dst_type: INT4 } }",
            ": retrain_weight_quant_config.ulq_retrain.dst_type (INT4) must be INT8",
        ),
        (
            "retrain_weight_quant_config { arq_retrain {\n dst_type: INT9 } }",
            ", line 2: dst_type (INT9) must be INT8",
        ),
        (
            "retrain_weight_quant_config { arq_retrain { dst_type: 9 } }",
            ", line 1: dst_type (9) must be INT8",
        ),
        (
            "retrain_data_quant_config { ulq_quantize { clip_max_min { clip_max: 3 } } }",
            ": retrain_data_quant_config.ulq_quantize.clip_max_min.clip_min is missing",
        ),
        (
            "retrain_data_quant_config { ulq_quantize { fixed_min: 2 } }",
            ", line 1: ",
        ),
        (
            "retrain_weight_quant_config { arq_retrain { channel_wise: true } }",
            ": retrain_weight_quant_config.arq_retrain.channel_wise (true) must be false: MatMul",
        ),
        (
            """override_layer_configs {
                layer_name: "fc/MatMul"
                retrain_weight_quant_config { ulq_retrain { channel_wise: true } }
            }""",
            ': override_layer_configs["fc/MatMul"].retrain_weight_quant_config.ulq_retrain.channel',
        ),
        (
            """override_layer_types {
                layer_type: "AvgPool"
                retrain_weight_quant_config { arq_retrain { channel_wise: true } }
            }""",
            ': override_layer_types["AvgPool"].retrain_weight_quant_config.arq_retrain.channel',
        ),
        ("override_layer_configs {}", ": override_layer_configs[0].layer_name is missing"),
        ("override_layer_types {}", ": override_layer_types[0].layer_type is missing"),
        (
            'override_layer_configs { layer_name: "a" } override_layer_configs { layer_name: "a" }',
            ': override_layer_configs has two entries with layer_name ("a")',
        ),
        (
            'override_layer_types { layer_type: "a" } override_layer_types { layer_type: "a" }',
            ': override_layer_types has two entries with layer_type ("a")',
        ),
        ("fakequant_precision_mode: FORCE_FP16_QUANT", ": fakequant_precision_mode is not supp"),
        (
            "prune_config { filter_pruner { balanced_l2_norm_filter_prune { prune_ratio: 0.5 } } }",
            ": prune_config is about pruning, which is not part of quantisation-aware training",
        ),
        (
            "prune_config { n_out_of_m_pruner { l1_selective_prune { update_freq: 2 } } }",
            ": prune_config is about pruning",
        ),
        ('regular_prune_skip_layers: "conv1/Conv2D"', ": regular_prune_skip_layers is about prun"),
        ('regular_prune_skip_types: "Conv2D"', ": regular_prune_skip_types is about pruning"),
        (
            'override_layer_configs { layer_name: "fc/MatMul" prune_config {} }',
            ": override_layer_configs[0].prune_config is about pruning",
        ),
        (
            'override_layer_types { layer_type: "MatMul" prune_config {} }',
            ": override_layer_types[0].prune_config is about pruning",
        ),
    ],
)
def test_a_wrong_field_is_refused_with_its_line_or_path(plan, text, words):
    """ConfigError: the file, the line or the path, the value, and what is allowed or closest."""
    with pytest.raises(ConfigError) as caught:
        parse_definition(text, plan, file='config_defination ("a.cfg")')
    message = str(caught.value)
    assert message.startswith(f'config_defination ("a.cfg"){words}')


@pytest.mark.parametrize(
    ("clip_max", "clip_min", "words"),
    [
        ("0", "-1", "clip_max (0.0) must be greater than zero"),
        ("-1", "-1", "clip_max (-1.0) must be greater than zero"),
        ("1", "0", "clip_min (0.0) must be less than zero"),
        ("1", "1", "clip_min (1.0) must be less than zero"),
        ("nan", "-1", "clip_max (NaN) must be finite"),
        ("1", "-inf", "clip_min (-Infinity) must be finite"),
        ("1e39", "-1", "clip_max (Infinity) must be finite"),
        ("1e-40", "-1", "to fit into float32"),
        ("1e-60", "-1", "clip_max (0.0) must be greater than zero"),
    ],
)
@pytest.mark.parametrize("override", [False, True])
def test_clips_are_finite_on_either_side_of_zero(plan, clip_max, clip_min, words, override):
    """clip_max is above zero, clip_min below, at the top and in overrides."""
    text = (
        "retrain_data_quant_config { ulq_quantize { "
        f"clip_max_min {{ clip_max: {clip_max} clip_min: {clip_min} }} }} }}"
    )
    path = "retrain_data_quant_config.ulq_quantize.clip_max_min."
    if override:
        text = f'override_layer_configs {{ layer_name: "fc/MatMul" {text} }}'
        path = f'override_layer_configs["fc/MatMul"].{path}'
    with pytest.raises(ConfigError) as caught:
        parse_definition(text, plan)
    assert words in str(caught.value)
    assert f"config_defination: {path}" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        'skip_layers: "fc/MatMull"',
        'quant_skip_layers: "fc/MatMull"',
        'override_layer_configs { layer_name: "fc/MatMull" }',
    ],
)
def test_an_unknown_layer_is_answered_with_the_closest_name(plan, text):
    """A layer that isn't in the graph: UnknownNameError with the field and the closest names."""
    with pytest.raises(UnknownNameError) as caught:
        parse_definition(text, plan)
    field = text.partition(" ")[0].rstrip(":")
    assert str(caught.value).startswith(f'config_defination: {field}: the graph has no layer "fc/')
    assert 'did you mean "fc/MatMul"' in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        'skip_layer_types: "Conv2d"',
        'quant_skip_types: "Conv2d"',
        'override_layer_types { layer_type: "Conv2d" }',
    ],
)
def test_an_unknown_type_is_answered_with_the_closest_and_all_types(plan, text):
    """A type that no handler knows: UnknownNameError with the closest and the supported ones."""
    with pytest.raises(UnknownNameError) as caught:
        parse_definition(text, plan)
    field = text.partition(" ")[0].rstrip(":")
    assert f'{field}: op type "Conv2d" cannot be quantised; did you mean "Conv2D' in str(
        caught.value
    )
    assert "(supported: AvgPool, Conv2D, Conv2DBackpropInput, " in str(caught.value)


def test_a_layer_that_cannot_be_quantised_cannot_be_overridden(plan):
    """An override of an op that the plan skips: UnknownNameError with the reason."""
    text = 'override_layer_configs { layer_name: "wide/MatMul" }'
    with pytest.raises(UnknownNameError, match=r"cannot be quantised: transpose_b \(True\) must"):
        parse_definition(text, plan)


def test_a_definition_that_leaves_no_layer_is_refused(plan):
    """Every layer skipped, or none in the graph: NoLayersError."""
    text = 'skip_layer_types: ["Conv2D", "AvgPool", "MatMul"]'
    with pytest.raises(NoLayersError, match="no layer has retrain_enable true"):
        parse_definition(text, plan)
    with pytest.raises(NoLayersError, match="no layer that can be quantised"):
        parse_definition("", Plan(()))


def test_a_file_that_cannot_be_read_is_named(plan, tmp_path):
    """Missing file: ModelFileError; bytes that aren't UTF-8: ConfigError; both name the path."""
    path = tmp_path / "a.cfg"
    with pytest.raises(ModelFileError, match=r"config_defination \(.*a\.cfg\) cannot be read"):
        read_definition(path, plan)
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r'config_defination \(".*a\.cfg"\) is not UTF-8 text'):
        read_definition(path, plan)


WEIGHT_BELOW_ZERO = "retrain_weight_quant_config{arq_retrain<channel_wise:-1>}}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batch_num: -1", "line 1: batch_num (-1) must be greater than zero"),
        ("\n# a\nbatch_num: # b\n -3", "line 4: batch_num (-3) must be greater than zero"),
        ("batch_num: 1.5", "batch_num (1.5) must be an integer"),
        ("batch_num: {", "batch_num ({) must be an integer"),
        ("skip_layers: -2", "skip_layers (-2) must be a text in quotes"),
        ('skip_layers: ["a", -2]', "skip_layers (-2) must be a text in quotes"),
        (
            "retrain_data_quant_config { ulq_quantize { fixed_min: -1 } }",
            "retrain_data_quant_config.ulq_quantize.fixed_min (-1) must be true or false",
        ),
        (
            'override_layer_configs{layer_name:"a:{" ' + WEIGHT_BELOW_ZERO,
            "override_layer_configs.retrain_weight_quant_config.arq_retrain.channel_wise (-1) ",
        ),
        (
            "retrain_data_quant_config{ulq_quantize{clip_max_min{clip_max:3 clip_min:-x}}}",
            "retrain_data_quant_config.ulq_quantize.clip_max_min.clip_min (-x) must be a number",
        ),
    ],
)
def test_a_value_of_a_wrong_kind_is_named_with_its_field(plan, text, words):
    """Negative, fractional, unquoted …: ConfigError with the path, the value and what may stand."""
    with pytest.raises(ConfigError) as caught:
        parse_definition(text, plan)
    assert words in str(caught.value)
