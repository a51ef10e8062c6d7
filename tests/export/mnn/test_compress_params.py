"""Compression parameters."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.exceptions import BitsError, FileWriteError, ModelFileError
from graphquant_export.targets.mnn import LayerParams, read_compress_params, save_compress_params
from graphquant_export.targets.mnn.compress_schema import messages
from graphquant_export.targets.mnn.wire import join_fields, split_fields

LAYERS = (
    LayerParams("conv/BiasAdd", 4, True),
    LayerParams("dw", 8, False),
    LayerParams("fc__matmul_converted", 2, True, 32),
)


def _pruner() -> Any:
    algo = messages()["CompressionAlgo"](type=1)
    algo.prune_params.type = 1
    algo.prune_params.simd_oc_pruner_params.weight_tensor_names.append("conv/weights")
    algo.prune_params.simd_oc_pruner_params.prune_ratios.append(0.3)
    algo.prune_params.simd_oc_pruner_params.oc_blocks.append(4)
    return algo


def _with_unknown_field(pruner: bytes) -> bytes:
    """What a newer version could write: a field that this schema doesn't have."""
    return pruner + join_fields([(15, b"not in the schema")])


@pytest.mark.parametrize("ending", ["bin", "json"])
def test_what_is_written_is_read(tmp_path: Path, ending: str) -> None:
    """Names, bits, modes and block sizes come back, in their order."""
    path = tmp_path / f"params.{ending}"
    save_compress_params(path, LAYERS)
    assert read_compress_params(path) == LAYERS


def test_the_same_layers_give_the_same_bytes(tmp_path: Path) -> None:
    """Nothing in the file is drawn at random."""
    for name in ("one.bin", "two.bin", "one.json", "two.json"):
        save_compress_params(tmp_path / name, LAYERS)
    assert (tmp_path / "one.bin").read_bytes() == (tmp_path / "two.bin").read_bytes()
    assert (tmp_path / "one.json").read_bytes() == (tmp_path / "two.json").read_bytes()


def _identity(path: Path) -> str:
    if path.suffix == ".json":
        return str(json.loads(path.read_text())["mnn_uuid"])
    return str(messages()["Pipeline"].FromString(path.read_bytes()).mnn_uuid)


@pytest.mark.parametrize("ending", ["bin", "json"])
def test_the_identity_of_the_model_follows_from_the_layers(tmp_path: Path, ending: str) -> None:
    """Other layers have another one; one that is given, or that the file held, stays."""
    paths = [tmp_path / f"{name}.{ending}" for name in ("one", "other", "given", "appended")]
    save_compress_params(paths[0], LAYERS)
    save_compress_params(paths[1], LAYERS[:2])
    save_compress_params(paths[2], LAYERS, mnn_uuid="mine")
    assert len({uuid.UUID(_identity(path)) for path in paths[:2]}) == 2
    assert _identity(paths[2]) == "mine"
    save_compress_params(paths[2], LAYERS[:1], append=True)
    assert _identity(paths[2]) == "mine"
    paths[3].write_bytes(b"{}" if ending == "json" else b"")
    save_compress_params(paths[3], LAYERS, append=True)
    assert _identity(paths[3]) == _identity(paths[0])


def test_appending_keeps_a_pruners_entry_byte_for_byte(tmp_path: Path) -> None:
    """Unknown fields, the version and the identity included; the quantisation comes last."""
    path = tmp_path / "params.bin"
    pruner = _with_unknown_field(_pruner().SerializeToString())
    kept = join_fields([(1, b"0.0.0"), (2, pruner), (3, b"some-identity")])
    path.write_bytes(kept)
    save_compress_params(path, LAYERS, append=True)
    assert path.read_bytes().startswith(kept)
    assert read_compress_params(path) == LAYERS


@pytest.mark.parametrize("ending", ["bin", "json"])
def test_appending_replaces_an_older_quantisation(tmp_path: Path, ending: str) -> None:
    """The pruner stays, the layers are the new ones only."""
    path = tmp_path / f"params.{ending}"
    save_compress_params(path, LAYERS)
    if ending == "json":
        document = json.loads(path.read_text())
        document["algo"].append({"type": "PRUNE", "prune_params": {"type": "SIMD_OC"}})
        path.write_text(json.dumps(document))
    else:
        path.write_bytes(path.read_bytes() + join_fields([(2, _pruner().SerializeToString())]))
    newer = (LayerParams("other", 3, False),)
    save_compress_params(path, newer, append=True)
    assert read_compress_params(path) == newer
    if ending == "json":
        assert [entry["type"] for entry in json.loads(path.read_text())["algo"]] == [
            "PRUNE",
            "QUANTIZE",
        ]
    else:
        pipeline = messages()["Pipeline"].FromString(path.read_bytes())
        assert [algo.type for algo in pipeline.algo] == [1, 0]


@pytest.mark.parametrize("name", ["params.bin", "params.json"])
@pytest.mark.parametrize("content", [b"\xff\xff\xff garbage", b"{", b"\x12\x7f"])
def test_appending_refuses_a_broken_file_and_leaves_it(
    tmp_path: Path, name: str, content: bytes
) -> None:
    """The error names the file, and the bytes are as before."""
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=name):
        save_compress_params(path, LAYERS, append=True)
    assert path.read_bytes() == content


def test_appending_to_a_missing_file_is_an_error(tmp_path: Path) -> None:
    """A pruner's file that isn't there must not pass unnoticed."""
    with pytest.raises(ModelFileError, match=r"absent\.bin"):
        save_compress_params(tmp_path / "absent.bin", LAYERS, append=True)
    assert not (tmp_path / "absent.bin").exists()


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A folder is no file."""
    with pytest.raises(FileWriteError, match="filename"):
        save_compress_params(tmp_path, LAYERS)


@pytest.mark.parametrize("bits", [1, 9, 4.5, True])
def test_bits_that_mnn_cannot_store_are_refused(bits: Any) -> None:
    """Only whole numbers from 2 to 8."""
    with pytest.raises(BitsError, match="from 2 to 8"):
        LayerParams("conv", bits, True)


@given(st.lists(st.tuples(st.integers(1, 2**29 - 1), st.binary(max_size=300)), max_size=6))
def test_fields_are_split_where_they_were_joined(fields: list[tuple[int, bytes]]) -> None:
    """Whole bytes in a row are the message, and numbers and values are those given."""
    message = join_fields(fields)
    found = list(split_fields(message))
    assert b"".join(raw for _, raw, _ in found) == message
    assert [(number, value) for number, _, value in found] == fields


def test_scalar_fields_are_split_too() -> None:
    """Numbers and fixed-size fields of a message are kept whole."""
    weight = messages()["WeightParams"](name="w", bits=3, scales=[0.5, 2.0], asymmetric=True)
    message = weight.SerializeToString()
    assert b"".join(raw for _, raw, _ in split_fields(message)) == message


def test_groups_and_numbers_in_place_of_a_message_are_kept() -> None:
    """What protobuf skips as unknown is split into whole fields without a value."""
    group = b"\x13\x0b\x0a\x01a\x10\x05\x0c\x14"  # 2 { 1 { 1: "a" 2: 5 } }
    fields = [group, b"\x10\x05", b"\x15abcd", b"\x11abcdefgh"]
    found = list(split_fields(b"".join(fields)))
    assert found == [(2, field, None) for field in fields]


def test_appending_keeps_a_field_of_another_type_byte_for_byte(tmp_path: Path) -> None:
    """A number where algorithms are expected is no algorithm: protobuf ignores it."""
    path = tmp_path / "params.bin"
    kept = join_fields([(1, b"0.0.0"), (3, b"identity")]) + b"\x10\x05\x13\x14"
    path.write_bytes(kept)
    save_compress_params(path, LAYERS, append=True)
    assert path.read_bytes().startswith(kept)
    assert read_compress_params(path) == LAYERS


@pytest.mark.parametrize("kind", ['"QUANTIZE"', '"0"', "0", "0.0", "null", None])
def test_appending_replaces_a_quantisation_however_its_type_is_written(
    tmp_path: Path, kind: str | None
) -> None:
    """A type that is missing, null or a number means what protobuf says."""
    path = tmp_path / "params.json"
    written = "" if kind is None else f'"type": {kind}, '
    layer = '{"op_name": "old", "weight": [{"name": "old", "bits": 3}]}'
    path.write_text(f'{{"algo": [{{{written}"quant_params": {{"layer": [{layer}]}}}}]}}')
    assert read_compress_params(path) == (LayerParams("old", 3, False),)
    save_compress_params(path, LAYERS, append=True)
    assert read_compress_params(path) == LAYERS


@pytest.mark.parametrize("content", ['{"algo": null}', '{"mnnUuid": ""}', "{}"])
def test_appending_takes_json_that_leaves_out_what_protobuf_may(
    tmp_path: Path, content: str
) -> None:
    """null and missing keys are defaults."""
    path = tmp_path / "params.json"
    path.write_text(content)
    save_compress_params(path, LAYERS, append=True)
    assert read_compress_params(path) == LAYERS
    assert json.loads(path.read_text())["mnn_uuid"]


def test_json_that_is_no_object_is_refused(tmp_path: Path) -> None:
    """Also an empty array, in which protobuf sees no mistake."""
    path = tmp_path / "params.json"
    path.write_text("[]")
    with pytest.raises(ModelFileError, match="must be an object"):
        read_compress_params(path)
    with pytest.raises(ModelFileError, match="must be an object"):
        save_compress_params(path, LAYERS, append=True)


@pytest.mark.parametrize("ending", ["bin", "json"])
def test_bits_in_a_file_that_mnn_cannot_store_are_refused_with_its_name(
    tmp_path: Path, ending: str
) -> None:
    """The error names the file and the bits."""
    path = tmp_path / f"params.{ending}"
    pipeline = messages()["Pipeline"](version="0.0.0")
    layer = pipeline.algo.add(type=0).quant_params.layer.add(op_name="a")
    layer.weight.add(name="a", bits=99)
    json_text = json_format.MessageToJson(pipeline).encode()
    path.write_bytes(json_text if ending == "json" else pipeline.SerializeToString())
    with pytest.raises(ModelFileError, match=rf"params\.{ending}.*bits \(99\)"):
        read_compress_params(path)


def test_the_file_needs_no_tensorflow() -> None:
    """Writing and reading compression parameters starts at once."""
    program = (
        "import sys, graphquant_export.targets.mnn as mnn; mnn.save_compress_params; "
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
