"""Configurations that nobody wrote on purpose. ``--hypothesis-profile=fuzz`` tries many more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphquant_core.exceptions import GraphQuantError
from graphquant_core.layer import Layer, Skip
from graphquant_core.plan import Plan
from graphquant_core.testing import damaged
from graphquant_qat.config.defaults import default_config
from graphquant_qat.config.json_form import format_config, parse_config, read_config
from graphquant_qat.config.text_form import read_definition

PLAN = Plan(
    (
        Layer("conv1/Conv2D", "Conv2D", 0, 1, (3, 3, 32, 64), (3,)),
        Layer("pool/AvgPool", "AvgPool", 0),
        Skip("wide/MatMul", "MatMul", "transpose_b (True) must be False to be quantised"),
        Layer("fc/MatMul", "MatMul", 0, 1, (64, 10), (1,), output_channel_axis=1),
    )
)
JSON = format_config(default_config(PLAN)).encode()
JSON_PIECES = (
    b'"conv1/Conv2D":',
    b'"version":1,',
    b'"clip_max":1.0,"clip_min":-1.0,',
    b'"clip_max":1e-45,"clip_min":-1e39,',
    b'"fixed_min":true,',
    b"true",
    b"NaN",
    b"-Infinity",
)
DEFINITION = b"""batch_num: 2
retrain_data_quant_config {
  ulq_quantize { clip_max_min { clip_max: 3.0 clip_min: -3.0 } fixed_min: false dst_type: INT8 }
}
retrain_weight_quant_config { arq_retrain { channel_wise: true } }
skip_layers: "pool/AvgPool"
skip_layer_types: "AvgPool"
override_layer_configs {
  layer_name: "fc/MatMul"
  retrain_weight_quant_config { ulq_retrain { channel_wise: false } }
}
override_layer_types {
  layer_type: "Conv2D"
  retrain_data_quant_config { ulq_quantize { fixed_min: true } }
}
"""
DEFINITION_PIECES = (
    b"override_layer_configs {",
    b"override_layer_types {}",
    b"prune_config {}",
    b"fakequant_precision_mode: FORCE_FP16_QUANT",
    b"clip_max: nan",
    b"dst_type: INT4",
    b"dst_type: 77",
    b'skip_layers: "\\377"',
    b"}",
    b"{",
)
EXAMPLES = max(300, settings().max_examples)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("config") / "file"


@settings(max_examples=EXAMPLES)
@given(content=damaged(JSON, JSON_PIECES) | st.binary(max_size=100))
def test_a_damaged_json_file_is_read_or_refused(
    content: bytes, path: Path, attempt: Callable[[Callable[[], Any]], Any]
) -> None:
    """Any bytes are a configuration that its own text states, or a GraphQuantError; in bounded
    time and memory.
    """
    path.write_bytes(content)
    config = attempt(lambda: read_config(path, PLAN))
    if isinstance(config, GraphQuantError):
        return
    assert parse_config(format_config(config), PLAN) == config


@settings(max_examples=EXAMPLES)
@given(content=damaged(DEFINITION, DEFINITION_PIECES) | st.binary(max_size=100))
def test_a_damaged_definition_is_read_or_refused(
    content: bytes, path: Path, attempt: Callable[[Callable[[], Any]], Any]
) -> None:
    """Any bytes are a definition of a configuration, or a GraphQuantError; in bounded time and
    memory.
    """
    path.write_bytes(content)
    config = attempt(lambda: read_definition(path, PLAN))
    if isinstance(config, GraphQuantError):
        return
    assert parse_config(format_config(config), PLAN) == config
