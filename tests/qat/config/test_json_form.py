"""What a JSON configuration may say, and each way in which it can be wrong."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from graphquant_core.exceptions import (
    ConfigError,
    ModelFileError,
    NoLayersError,
    UnknownNameError,
)
from graphquant_qat.config import rules
from graphquant_qat.config.defaults import default_config, default_layer
from graphquant_qat.config.json_form import format_config, parse_config, read_config
from graphquant_qat.config.model import ActivationConfig, WeightConfig

CONV = "conv1/Conv2D"
DATA = f"{CONV}.retrain_data_config"
WEIGHT = f"{CONV}.retrain_weight_config"


def changed(plan, *keys, value=None, remove=False):
    """Text of the default configuration with one value set, added or removed."""
    data = json.loads(format_config(default_config(plan)))
    inner = data
    for key in keys[:-1]:
        inner = inner[key]
    if remove:
        del inner[keys[-1]]
    else:
        inner[keys[-1]] = value
    return json.dumps(data)


def test_a_layer_that_the_file_leaves_out_is_off(plan):
    """The configuration has every layer of the plan; those that aren't in the file are off."""
    text = changed(plan, "fc/MatMul", remove=True)
    config = parse_config(text, plan)
    assert list(config.layers) == [layer.name for layer in plan.layers]
    assert config.enabled == ("conv1/Conv2D", "pool/AvgPool", "logits/Conv2D")
    fc = plan.layer("fc/MatMul")
    assert config.layers["fc/MatMul"] == default_layer(fc, retrain_enable=False)


def test_an_older_file_has_no_dst_type(plan):
    """Without dst_type, algo and channel_wise a section has the defaults of its layer."""
    data = json.loads(format_config(default_config(plan)))
    for name in (CONV, "fc/MatMul"):
        data[name]["retrain_data_config"] = {}
        data[name]["retrain_weight_config"] = {}
    assert parse_config(json.dumps(data), plan) == default_config(plan)


def test_a_layer_that_is_off_needs_no_sections(plan):
    """{"retrain_enable": false} is enough for a layer that is off."""
    config = parse_config(changed(plan, CONV, value={"retrain_enable": False}), plan)
    assert not config.layers[CONV].retrain_enable
    assert config.layers[CONV].weight == WeightConfig()


def test_the_weight_section_that_amct_writes_for_avg_pool_has_no_effect(plan):
    """AvgPool has no weight: a section with channel_wise false is read and dropped."""
    section = {"algo": "arq_retrain", "channel_wise": False, "dst_type": "INT8"}
    text = changed(plan, "pool/AvgPool", "retrain_weight_config", value=section)
    assert parse_config(text, plan) == default_config(plan)


def test_an_op_that_cannot_be_quantised_may_be_switched_off(plan):
    """An entry for a skipped op is accepted as long as it keeps the op off."""
    text = changed(plan, "wide/MatMul", value={"retrain_enable": False})
    assert parse_config(text, plan) == default_config(plan)


def test_clips_and_fixed_min_are_read(plan):
    """clip_max, clip_min and fixed_min come back as they stand."""
    section = {"clip_max": 3.0, "clip_min": -1e-3, "fixed_min": True}
    config = parse_config(changed(plan, CONV, "retrain_data_config", value=section), plan)
    expected = ActivationConfig(clip_max=3.0, clip_min=-1e-3, fixed_min=True)
    assert config.layers[CONV].activation == expected


def test_the_name_of_a_plugins_quantizer_is_allowed(plan, monkeypatch):
    """algo takes the name of any registered quantiser, and an unknown one lists them."""
    registry = SimpleNamespace(
        activation_quantizers={"my_activation": None}, weight_quantizers={"my_weight": None}
    )
    monkeypatch.setattr(rules, "load_registry", lambda: registry)
    text = changed(plan, CONV, "retrain_weight_config", "algo", value="my_weight")
    assert parse_config(text, plan).layers[CONV].weight == WeightConfig("my_weight")
    text = changed(plan, CONV, "retrain_data_config", "algo", value="my_activation")
    assert parse_config(text, plan).layers[CONV].activation == ActivationConfig("my_activation")
    with pytest.raises(ConfigError, match='"ulq_retrain" or "my_weight"; did you mean'):
        parse_config(changed(plan, CONV, "retrain_weight_config", "algo", value="my_weihgt"), plan)


@pytest.mark.parametrize(
    ("keys", "value", "words"),
    [
        (("version",), 2, "version (2) must be 1"),
        (("version",), True, "version (true) must be an integer"),
        (("version",), None, "version (null) must be an integer"),
        (("batch_num",), 0, "batch_num (0) must be greater than zero"),
        (("batch_num",), -3, "batch_num (-3) must be greater than zero"),
        (("batch_num",), 2**31, "batch_num (2147483648) must be greater than zero and at most"),
        (("batch_num",), True, "batch_num (true) must be an integer"),
        (("batch_num",), 2.0, "batch_num (2.0) must be an integer"),
        (("batch_nun",), 1, 'unknown key batch_nun; did you mean "batch_num"?'),
        ((CONV,), [1], f"{CONV} ([...]) must be an object"),
        ((CONV, "retrain_enable"), 1, f"{CONV}.retrain_enable (1) must be true or false"),
        ((CONV, "enable"), True, f"unknown key {CONV}.enable; did you mean"),
        ((CONV, "retrain_data_config"), None, f"{DATA} (null) must be an object"),
        (
            (CONV, "retrain_data_config", "algo"),
            "ulq_quantise",
            f'{DATA}.algo ("ulq_quantise") must be "ulq_quantize"',
        ),
        ((CONV, "retrain_data_config", "algo"), 3, f"{DATA}.algo (3) must be"),
        (
            (CONV, "retrain_data_config", "clip_mx"),
            3.0,
            f'unknown key {DATA}.clip_mx; did you mean "clip_max"',
        ),
        (
            (CONV, "retrain_data_config", "clip_max"),
            3.0,
            f"{DATA}.clip_max (3.0) is given without clip_min",
        ),
        (
            (CONV, "retrain_data_config", "clip_min"),
            -3.0,
            f"{DATA}.clip_min (-3.0) is given without clip_max",
        ),
        ((CONV, "retrain_data_config", "fixed_min"), 0, f"{DATA}.fixed_min (0) must be true or"),
        (
            (CONV, "retrain_data_config", "dst_type"),
            "INT16",
            f'{DATA}.dst_type ("INT16") must be "INT8"',
        ),
        (
            (CONV, "retrain_weight_config", "dst_type"),
            "INT4",
            f'{WEIGHT}.dst_type ("INT4") must be "INT8"',
        ),
        (
            (CONV, "retrain_weight_config", "algo"),
            "arq_quantize",
            f'{WEIGHT}.algo ("arq_quantize") must be "arq_retrain", "ulq_retrain", ',
        ),
        (
            (CONV, "retrain_weight_config", "channel_wise"),
            1,
            f"{WEIGHT}.channel_wise (1) must be true or false",
        ),
        (
            (CONV, "retrain_weight_config", "chanel_wise"),
            True,
            f'unknown key {WEIGHT}.chanel_wise; did you mean "channel_wise"',
        ),
        (
            ("fc/MatMul", "retrain_weight_config", "channel_wise"),
            True,
            "fc/MatMul.retrain_weight_config.channel_wise (true) must be false: MatMul has one",
        ),
        (
            ("pool/AvgPool", "retrain_weight_config"),
            {"channel_wise": True},
            "pool/AvgPool.retrain_weight_config.channel_wise (true) must be false: AvgPool has no",
        ),
        (
            (CONV, "regular_prune_enable"),
            False,
            f"{CONV}.regular_prune_enable (false) is about pruning, which is not part",
        ),
        (
            (CONV, "regular_prune_config"),
            {"prune_type": "filter_prune"},
            f"{CONV}.regular_prune_config ({{...}}) is about pruning, which is not part",
        ),
        (("regular_prune_config",), {}, "regular_prune_config ({}) is about pruning"),
        (("fakequant_precision_mode",), "FORCE_FP16_QUANT", "is not supported: scales are used"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(plan, keys, value, words):
    """ConfigError: the file, the keys to the value, the value, and what is allowed or closest."""
    with pytest.raises(ConfigError) as caught:
        parse_config(changed(plan, *keys, value=value), plan, 'config_file ("a.json")')
    assert str(caught.value).startswith('config_file ("a.json"): ')
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("clip_max", "clip_min", "words"),
    [
        ("3", "-1.0", "clip_max (3) must be a float, such as 3.0"),
        ("3.0", "-1", "clip_min (-1) must be a float, such as 3.0"),
        ("true", "-1.0", "clip_max (true) must be a float, such as 3.0"),
        ('"3.0"', "-1.0", 'clip_max ("3.0") must be a float, such as 3.0'),
        ("0.0", "-1.0", "clip_max (0.0) must be greater than zero"),
        ("-1.0", "-1.0", "clip_max (-1.0) must be greater than zero"),
        ("1.0", "0.0", "clip_min (0.0) must be less than zero"),
        ("1.0", "2.0", "clip_min (2.0) must be less than zero"),
        ("NaN", "-1.0", "clip_max (NaN) must be finite"),
        ("1.0", "-Infinity", "clip_min (-Infinity) must be finite"),
        ("1e999", "-1.0", "clip_max (Infinity) must be finite"),
        ("1e39", "-1.0", "clip_max (1e+39) must be from 1.18e-38 to 3.4e+38 in size"),
        ("1e-50", "-1.0", "clip_max (1e-50) must be from 1.18e-38 to 3.4e+38 in size"),
    ],
)
def test_clips_are_floats_on_either_side_of_zero(plan, clip_max, clip_min, words):
    """clip_max is a float above zero, clip_min one below; both keep their sign in float32."""
    section = f'{{"clip_max": {clip_max}, "clip_min": {clip_min}}}'
    text = changed(plan, CONV, "retrain_data_config", value="HERE").replace('"HERE"', section)
    with pytest.raises(ConfigError) as caught:
        parse_config(text, plan)
    assert f"{DATA}.{words}" in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        ("version",),
        ("batch_num",),
        (CONV, "retrain_enable"),
        (CONV, "retrain_data_config"),
        (CONV, "retrain_weight_config"),
    ],
)
def test_a_missing_key_is_named(plan, keys):
    """A key that an enabled layer needs and that is missing: ConfigError with its path."""
    with pytest.raises(ConfigError) as caught:
        parse_config(changed(plan, *keys, remove=True), plan)
    assert str(caught.value) == f"config_file: the key {'.'.join(keys)} is missing"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"version": 1, "version": 1}', "version"),
        (
            '{"conv1/Conv2D": {"retrain_enable": true, "retrain_enable": false}}',
            f"{CONV}.retrain_enable",
        ),
        ('{"conv1/Conv2D": {}, "conv1/Conv2D": {}}', CONV),
    ],
)
def test_a_repeated_key_is_refused(plan, text, path):
    """JSON readers silently keep the last of two equal keys; here it is a ConfigError."""
    with pytest.raises(ConfigError) as caught:
        parse_config(text, plan)
    assert str(caught.value) == f"config_file: the key {path} is given twice"


def test_an_unknown_layer_is_answered_with_the_closest_name(plan):
    """A layer that isn't in the graph: UnknownNameError with the closest names."""
    text = changed(plan, "conv1/Con2D", value={"retrain_enable": True})
    with pytest.raises(UnknownNameError, match=r'no layer "conv1/Con2D" that .* "conv1/Conv2D"'):
        parse_config(text, plan)


@pytest.mark.parametrize("entry", [{"retrain_enable": True}, {}])
def test_a_skipped_layer_cannot_be_enabled_and_the_reason_is_named(plan, entry):
    """An op that the plan skips: UnknownNameError with the reason of the skip."""
    with pytest.raises(UnknownNameError, match=r'"wide/MatMul" cannot be .* transpose_b \(True\)'):
        parse_config(changed(plan, "wide/MatMul", value=entry), plan)


def test_a_configuration_that_enables_nothing_is_refused(plan):
    """No layer enabled: NoLayersError."""
    with pytest.raises(NoLayersError, match="no layer has retrain_enable true"):
        parse_config('{"version": 1, "batch_num": 1}', plan)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not valid JSON: line 1, column 1"),
        ('{\n"version": 1,,', "not valid JSON: line 2, column 14"),
        ("[" * 200_000, "nested too deep"),
        ('{"a":' * 200_000, "nested too deep"),
        ('{"version": ' + "1" * 5000 + "}", "too many digits"),
        ("[1]", "content ([...]) must be an object"),
        ("null", "content (null) must be an object"),
        ('{"version": 1, "\\ud800": {}}', 'no layer "\\ud800"'),
    ],
)
def test_what_is_not_a_configuration_is_refused_in_one_sentence(plan, text, words):
    """Broken, deep or huge JSON: our own error, short and printable."""
    with pytest.raises((ConfigError, UnknownNameError)) as caught:
        parse_config(text, plan)
    assert words in str(caught.value)
    assert len(str(caught.value).encode()) < 1000


def test_a_file_is_read_with_or_without_byte_order_mark(plan, tmp_path):
    """read_config reads UTF-8, also as Windows editors write it."""
    path = tmp_path / "config.json"
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text(format_config(default_config(plan)), encoding=encoding)
        assert read_config(path, plan) == default_config(plan)


def test_a_file_that_cannot_be_read_is_named(plan, tmp_path):
    """Missing file: ModelFileError; bytes that aren't UTF-8: ConfigError; both name the path."""
    path = tmp_path / "config.json"
    with pytest.raises(ModelFileError, match=r"config_file \(.*config\.json\) cannot be read"):
        read_config(path, plan)
    path.write_bytes(b'{"version"\xff')
    with pytest.raises(ConfigError, match=r'config_file \(".*config\.json"\) is not UTF-8.* 10'):
        read_config(path, plan)
