"""Damaged .mnn files; ``--hypothesis-profile=fuzz`` tries many more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphquant_core.exceptions import GraphQuantError, ModelFileError
from graphquant_core.testing import damaged
from graphquant_export.targets.mnn import read_mnn_layers

DATA = Path(__file__).parent / "data"
# Models of three convolutions that MNN's converter wrote: 4 bits asymmetric, 8 bits, and float;
# in the second one the 8 bits are in the sparse form.
DENSE, SPARSE = ((DATA / name).read_bytes() for name in ("dense.mnn", "sparse.mnn"))
EXAMPLES = max(300, settings().max_examples)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mnn") / "model.mnn"


@pytest.mark.parametrize("content", [DENSE, SPARSE])
def test_the_whole_files_are_read(path: Path, content: bytes) -> None:
    """What is damaged below is whole here."""
    path.write_bytes(content)
    bits = {
        name: layer.weight and layer.weight.bits for name, layer in read_mnn_layers(path).items()
    }
    assert bits == {"dense": 4, "sparse": 8, "float": None}


@settings(max_examples=EXAMPLES)
@given(content=damaged(DENSE) | damaged(SPARSE) | st.binary(max_size=100))
def test_a_damaged_model_is_read_or_refused(
    content: bytes, path: Path, attempt: Callable[[Callable[[], Any]], Any]
) -> None:
    """Any bytes are layers with 2 to 8 bits, a finite scale and minimum for each group and codes
    of the grid, or a GraphQuantError; in bounded time and memory.
    """
    path.write_bytes(content)
    layers = attempt(lambda: read_mnn_layers(path))
    if isinstance(layers, GraphQuantError):
        return
    for layer in layers.values():
        weight = layer.weight
        if weight is None:
            continue
        half = 1 << (weight.bits - 1)
        assert 2 <= weight.bits <= 8
        assert weight.codes.dtype == np.int8
        assert weight.codes.min(initial=0) >= -half
        assert weight.codes.max(initial=0) < half
        assert (weight.scale >= 0).all()
        assert np.isfinite(weight.values()).all()
        assert weight.values().shape == (len(weight.scale), weight.codes.shape[1])


def many_subgraphs(builder: Any) -> None:
    """30,000 references to one subgraph with 30,000 references to one op."""
    builder.StartObject(6)
    op_list = vector_of(builder, builder.EndObject(), 30_000)
    builder.StartObject(6)
    builder.PrependUOffsetTRelativeSlot(4, op_list, 0)
    subgraphs = vector_of(builder, builder.EndObject(), 30_000)
    builder.StartObject(11)
    builder.PrependUOffsetTRelativeSlot(3, op_list, 0)
    builder.PrependUOffsetTRelativeSlot(10, subgraphs, 0)


def many_names(builder: Any) -> None:
    """50,000 tensors with one name of 50,000 characters."""
    names = vector_of(builder, builder.CreateString("n" * 50_000), 50_000)
    builder.StartObject(11)
    builder.PrependUOffsetTRelativeSlot(7, names, 0)


def vector_of(builder: Any, table: int, count: int) -> int:
    builder.StartVector(4, count, 4)
    for _ in range(count):
        builder.PrependUOffsetTRelative(table)
    return int(builder.EndVector())


@pytest.mark.parametrize("write", [many_subgraphs, many_names])
def test_one_place_that_is_referred_to_again_and_again_is_refused(
    path: Path, attempt: Callable[[Callable[[], Any]], Any], write: Callable[[Any], None]
) -> None:
    """What a file describes is bounded by its size, not by the square of it."""
    builder = flatbuffers.Builder()
    write(builder)
    builder.Finish(builder.EndObject())
    path.write_bytes(bytes(builder.Output()))
    refusal = attempt(lambda: read_mnn_layers(path))
    assert isinstance(refusal, ModelFileError)
    assert "refers to more than it can hold" in str(refusal)
