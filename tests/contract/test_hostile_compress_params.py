"""Compression parameters that nobody wrote; ``--hypothesis-profile=fuzz`` tries many more."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphquant_core.exceptions import GraphQuantError
from graphquant_core.testing import damaged
from graphquant_export.targets.mnn import LayerParams, read_compress_params, save_compress_params
from graphquant_export.targets.mnn.compress_schema import messages

LAYERS = (LayerParams("conv/BiasAdd", 4, True), LayerParams("fc", 2, False, 32))
JSON_PIECES = (
    b'{"type":"PRUNE"}',
    b'"algo":null,',
    b'"algo":[],',
    b'"algo":[null],',
    b'"bits":2147483647,',
    b'"quant_params":{},',
    b'"quantParams":{},',
    b'"mnn_uuid":"a",',
    b"NaN",
)
BINARY_PIECES = (
    b"\x12\x00",
    b"\x12\x02\x08\x01",
    b"\x10\x05",  # field 2 as a number instead of a message
    b"\x15\x00\x00\x00\x00",
    b"\x11\x00\x00\x00\x00\x00\x00\x00\x00",
    b"\x13\x14",  # field 2 as a group
    b"\x7b\x7c",
)
EXAMPLES = max(300, settings().max_examples)


def whole_files() -> tuple[bytes, bytes]:
    """A pruner's entry and ours, as JSON and as protobuf."""
    pipeline = messages()["Pipeline"](version="0.0.0", mnn_uuid="an-identity")
    pruner = pipeline.algo.add(type=1)
    pruner.prune_params.simd_oc_pruner_params.weight_tensor_names.append("conv/weights")
    pruner.prune_params.simd_oc_pruner_params.prune_ratios.append(0.3)
    layer = pipeline.algo.add(type=0).quant_params.layer.add(op_name="conv/BiasAdd")
    layer.weight.add(name="conv/BiasAdd", bits=4, asymmetric=True, scales=[0.5, 0.25])
    document = {
        "version": "0.0.0",
        "algo": [
            {"type": "PRUNE", "prune_params": {"type": "SIMD_OC"}},
            {
                "type": "QUANTIZE",
                "quant_params": {
                    "layer": [{"op_name": "conv", "weight": [{"name": "conv", "bits": 4}]}]
                },
            },
        ],
        "mnn_uuid": "an-identity",
    }
    return json.dumps(document).encode(), pipeline.SerializeToString()


JSON, BINARY = whole_files()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("params")


def read_and_append(
    path: Path, content: bytes, attempt: Callable[[Callable[[], Any]], Any]
) -> None:
    path.write_bytes(content)
    layers = attempt(lambda: read_compress_params(path))
    if not isinstance(layers, GraphQuantError):
        assert all(2 <= layer.bits <= 8 and layer.block_size >= 0 for layer in layers)
    refusal = attempt(lambda: save_compress_params(path, LAYERS, append=True))
    if refusal is not None:
        assert path.read_bytes() == content
        return
    assert read_compress_params(path) == LAYERS


@settings(max_examples=EXAMPLES)
@given(content=damaged(JSON, JSON_PIECES) | st.binary(max_size=100))
def test_a_damaged_json_file_is_read_and_appended_to_or_refused(
    content: bytes, folder: Path, attempt: Callable[[Callable[[], Any]], Any]
) -> None:
    """Any bytes are layers of 2 to 8 bits or a GraphQuantError; what can be appended to holds the
    new layers then, what can't is as before. In bounded time and memory.
    """
    read_and_append(folder / "params.json", content, attempt)


@settings(max_examples=EXAMPLES)
@given(content=damaged(BINARY, BINARY_PIECES) | st.binary(max_size=100))
def test_a_damaged_binary_file_is_read_and_appended_to_or_refused(
    content: bytes, folder: Path, attempt: Callable[[Callable[[], Any]], Any]
) -> None:
    """As the law of JSON files, for protobuf."""
    read_and_append(folder / "params.bin", content, attempt)
