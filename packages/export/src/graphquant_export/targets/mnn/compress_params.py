"""Compression parameters of a quantised model: what MNN's converter is told of each layer."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterable
from typing import Any

import attrs
from google.protobuf import json_format
from google.protobuf.message import DecodeError

from graphquant_core.exceptions import BitsError, ModelFileError
from graphquant_core.files import check_writable, read_bytes, write_whole
from graphquant_core.weight_record import checked_asymmetric, checked_bits, checked_block_size
from graphquant_export.targets.mnn.compress_schema import messages
from graphquant_export.targets.mnn.wire import join_fields, split_fields

VERSION = "0.0.0"
MAX_BYTES = 64 * 2**20
"""A file has about 100 bytes a layer."""

_ALGO_FIELD, _IDENTITY_FIELD, _QUANTIZE = 2, 3, 0


@attrs.frozen
class LayerParams:
    """How MNN quantises the weight of one of its ops.

    Attributes:
        op_name: Name of the op in MNN.
        bits: 2 to 8.
        asymmetric: Whether a group has a minimum of its own.
        block_size: Input channels of a group; 0 for one group per output channel.

    Raises:
        BitsError: `bits` is not an integer from 2 to 8.
        ConfigError: `asymmetric` is no bool, or `block_size` no integer of 0 or more.
    """

    op_name: str
    bits: int = attrs.field(converter=checked_bits)
    asymmetric: bool = attrs.field(converter=checked_asymmetric)
    block_size: int = attrs.field(default=0, converter=checked_block_size)


def save_compress_params(
    filename: str | os.PathLike[str],
    layers: Iterable[LayerParams],
    append: bool = False,
    mnn_uuid: str | None = None,
) -> None:
    """Writes `layers` to `filename`: JSON when it ends in ``.json``, else protobuf.

    Args:
        filename: The file.
        layers: The layers, in the order in which they are written.
        append: Whether `filename` exists and what it holds is kept: other algorithms, such as a
            pruner's, byte for byte; an older quantisation is replaced.
        mnn_uuid: Identity that the model gets, unless `filename` holds one that is kept; by
            default it follows from `layers`. The converter would draw one at random.

    Raises:
        ModelFileError: `append` is true and the file is missing or broken. It is not touched.
        FileWriteError: `filename` can't be written.
    """
    check_writable(filename, "filename")
    algo = _quantization(layers)
    if mnn_uuid is None:
        mnn_uuid = identity_of(algo.SerializeToString(deterministic=True))
    if os.fspath(filename).endswith(".json"):
        write_whole(filename, _as_json(filename, algo, append, mnn_uuid))
    else:
        write_whole(filename, _as_bytes(filename, algo, append, mnn_uuid))


def identity_of(*contents: bytes) -> str:
    """The identity of a model that was made from `contents`: a UUID, the same for the same bytes.

    Contents that are divided differently have different identities.
    """
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content).digest())
    return str(uuid.uuid5(uuid.NAMESPACE_OID, digest.hexdigest()))


def read_compress_params(filename: str | os.PathLike[str]) -> tuple[LayerParams, ...]:
    """The layers whose weights `filename` quantises.

    Raises:
        ModelFileError: The file is missing or broken.
    """
    content = read_bytes(filename, "filename", MAX_BYTES)
    if os.fspath(filename).endswith(".json"):
        pipeline, _ = _parse_json(filename, content)
    else:
        pipeline = _parse_binary(filename, content)
    try:
        return tuple(
            LayerParams(layer.op_name, weight.bits, weight.asymmetric, max(weight.block_size, 0))
            for algo in pipeline.algo
            if algo.type == _QUANTIZE
            for layer in algo.quant_params.layer
            for weight in layer.weight[:1]
        )
    except BitsError as error:
        raise _broken(filename, error) from error


def is_of_weights_alone(filename: str | os.PathLike[str]) -> bool:
    """Whether the JSON `filename` holds parameters of weights, and of no activations."""
    try:
        pipeline, _ = _parse_json(filename, read_bytes(filename, "filename", MAX_BYTES))
    except ModelFileError:
        return False
    layers = [layer for algo in pipeline.algo for layer in algo.quant_params.layer]
    return bool(layers) and not any(layer.input for layer in layers)


def _quantization(layers: Iterable[LayerParams]) -> Any:
    algo: Any = messages()["CompressionAlgo"](type=_QUANTIZE)
    algo.quant_params.round_mode = 1
    for layer in layers:
        added = algo.quant_params.layer.add(op_name=layer.op_name)
        added.weight.add(
            name=layer.op_name,
            bits=layer.bits,
            asymmetric=layer.asymmetric,
            block_size=layer.block_size,
        )
    return algo


def _as_bytes(filename: str | os.PathLike[str], algo: Any, append: bool, mnn_uuid: str) -> bytes:
    added = algo.SerializeToString(deterministic=True)
    if not append:
        pipeline = messages()["Pipeline"](version=VERSION, mnn_uuid=mnn_uuid)
        return bytes(pipeline.SerializeToString()) + join_fields([(_ALGO_FIELD, added)])
    content = read_bytes(filename, "filename", MAX_BYTES)
    pipeline = _parse_binary(filename, content)
    kept = b"".join(
        raw
        for number, raw, value in split_fields(content)
        if number != _ALGO_FIELD
        or value is None
        or messages()["CompressionAlgo"].FromString(value).type != _QUANTIZE
    )
    if not pipeline.mnn_uuid:
        kept += join_fields([(_IDENTITY_FIELD, mnn_uuid.encode())])
    return kept + join_fields([(_ALGO_FIELD, added)])


def _as_json(filename: str | os.PathLike[str], algo: Any, append: bool, mnn_uuid: str) -> str:
    added = json_format.MessageToDict(algo, preserving_proto_field_name=True)
    added = {"type": "QUANTIZE", **added}
    document: dict[str, Any] = {"version": VERSION, "algo": [], "mnn_uuid": mnn_uuid}
    others: list[Any] = []
    if append:
        pipeline, document = _parse_json(filename, read_bytes(filename, "filename", MAX_BYTES))
        if not pipeline.mnn_uuid:
            document.pop("mnnUuid", None)
            document["mnn_uuid"] = mnn_uuid
        # The message knows what a type means that is missing, null or a number.
        pairs = zip(document.get("algo") or [], pipeline.algo, strict=True)
        others = [entry for entry, parsed in pairs if parsed.type != _QUANTIZE]
    return json.dumps({**document, "algo": [*others, added]}, indent=2) + "\n"


def _parse_json(filename: str | os.PathLike[str], content: bytes) -> tuple[Any, dict[str, Any]]:
    """The message that `content` writes, and `content` as plain data."""
    pipeline = messages()["Pipeline"]()
    try:
        json_format.Parse(content, pipeline)
        document = json.loads(content)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise _broken(filename, error) from error
    if not isinstance(document, dict):
        raise _broken(filename, "it must be an object, { ... }")
    return pipeline, document


def _parse_binary(filename: str | os.PathLike[str], content: bytes) -> Any:
    pipeline = messages()["Pipeline"]()
    try:
        pipeline.ParseFromString(content)
    except (DecodeError, RecursionError) as error:
        raise _broken(filename, error) from error
    return pipeline


def _broken(filename: str | os.PathLike[str], reason: object) -> ModelFileError:
    return ModelFileError(
        f'filename ("{os.fspath(filename)}") holds no compression parameters of MNN: '
        f"{str(reason)[:300]}"
    )
