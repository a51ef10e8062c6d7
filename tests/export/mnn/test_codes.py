"""What MNN's converter makes of a weight."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.exceptions import ModelFileError, UnsupportedLayerError
from graphquant_core.layer import Layer
from graphquant_export.targets.mnn import mnn_grouping, mnn_quantize, read_mnn_layers
from graphquant_export.targets.mnn.stored_codes import DENSE, decode_codes, encode_codes
from graphquant_export.targets.mnn.wheel import run_mnnconvert

LAYERS = [
    Layer("conv", "Conv2D", 0, 1, (3, 3, 32, 6), (3,)),
    Layer("pointwise", "Conv2D", 0, 1, (1, 1, 6, 32), (3,)),
    Layer("depthwise", "DepthwiseConv2dNative", 0, 1, (3, 3, 32, 1), (2, 3)),
    Layer("deconv", "Conv2DBackpropInput", 2, 1, (2, 2, 64, 32), (2,)),
    Layer("dense", "MatMul", 0, 1, (64, 10), (1,)),
    Layer("transposed", "MatMul", 0, 1, (7, 10), (0,)),
]


def _awkward_weights() -> dict[str, np.ndarray]:
    """A conv whose groups are nearly or wholly zero, a depthwise one that is mostly zeros."""
    rng = np.random.default_rng(3)
    conv = rng.normal(0, 0.3, (3, 3, 32, 6)).astype(np.float32)
    conv[..., 2] *= np.float32(1e-7)
    conv[..., 3] = 0
    conv[..., 4] = 0.25
    dense = rng.normal(0, 0.3, (64, 10)).astype(np.float32)
    dense[np.abs(dense) < 0.5] = 0
    return {"conv": conv, "dense": dense}


@pytest.mark.usefixtures("mnn")
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize(("bits", "block"), [(8, 0), (5, 32), (4, 0), (3, 16), (2, 0)])
@pytest.mark.parametrize("asymmetric", [False, True])
def test_codes_scales_and_minima_are_the_converters_bit_for_bit(
    all_layers: Callable[..., Any],
    tmp_path: Path,
    bits: int,
    block: int,
    asymmetric: bool,
    sparse: bool,
) -> None:
    """Every layer type, dead groups, blocks and the sparse form: not one bit is different."""
    model = all_layers(_awkward_weights())
    written = tmp_path / "model.mnn"
    flags = [f"--weightQuantBits={bits}", f"--weightQuantAsymmetric={int(asymmetric)}"]
    flags += [f"--weightQuantBlock={block}"] * bool(block)
    flags += ["--detectSparseSpeedUp"] * sparse
    files = ["--modelFile", str(model.save(tmp_path)), "--MNNModel", str(written)]
    run_mnnconvert(["-f", "TF", *files, "--bizCode", "MNN", *flags], tmp_path)
    stored = read_mnn_layers(written)
    for layer in LAYERS:
        name = layer.name + "__matmul_converted" * (layer.op_type == "MatMul")
        found = stored[name].weight
        expected = mnn_quantize(
            mnn_grouping(layer, block).rows(model.weights[layer.name]), bits, asymmetric
        )
        assert found is not None
        assert found.bits == bits
        np.testing.assert_array_equal(found.codes, expected.codes, layer.name)
        np.testing.assert_array_equal(found.scale, expected.scale, layer.name)
        np.testing.assert_array_equal(found.minimum, expected.minimum, layer.name)


@given(st.integers(1, 9), st.integers(0, 40), st.booleans(), st.integers(0, 10**6))
def test_codes_that_are_encoded_are_decoded(groups: int, size: int, wide: bool, seed: int) -> None:
    """decode(encode(codes)) = codes, for every code of 8 bits and both widths of the shape."""
    codes = np.random.default_rng(seed).integers(-128, 128, (groups, size)).astype(np.int8)
    buffer = np.frombuffer(encode_codes(codes, wide), np.uint8)
    found = decode_codes(buffer, DENSE, wide, np.zeros(groups, np.int8), size)
    np.testing.assert_array_equal(found, codes)


@given(st.integers(2, 8), st.booleans(), st.integers(0, 10**6))
def test_values_on_a_grid_are_quantised_to_themselves(
    bits: int, asymmetric: bool, seed: int
) -> None:
    """Quantising the stored values again changes no code."""
    rows = np.random.default_rng(seed).normal(size=(5, 40)).astype(np.float32)
    once = mnn_quantize(rows, bits, asymmetric)
    again = mnn_quantize(once.values(), bits, asymmetric)
    np.testing.assert_array_equal(once.codes, again.codes)
    np.testing.assert_allclose(once.values(), again.values(), rtol=0, atol=1e-6)


@given(st.integers(2, 8), st.booleans(), st.integers(0, 10**6))
def test_no_value_is_off_by_more_than_half_a_step(bits: int, asymmetric: bool, seed: int) -> None:
    """In float64, |stored - given| <= scale / 2, up to float32's rounding."""
    rows = np.random.default_rng(seed).normal(size=(4, 30)).astype(np.float32)
    stored = mnn_quantize(rows, bits, asymmetric)
    error = np.abs(stored.values().astype(np.float64) - rows)
    assert (error <= stored.scale.astype(np.float64)[:, None] * 0.5001).all()


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@pytest.mark.parametrize("block", [0, 16])
def test_grouping_a_weight_loses_nothing(layer: Layer, block: int) -> None:
    """`weight` is the inverse of `rows`."""
    grouping = mnn_grouping(layer, block)
    weight = np.arange(np.prod(layer.weight_shape), dtype=np.float32).reshape(layer.weight_shape)
    rows = grouping.rows(weight)
    assert rows.shape == (grouping.count, grouping.size)
    np.testing.assert_array_equal(grouping.weight(rows), weight)


def test_a_layer_that_mnn_does_not_quantise_has_no_groups() -> None:
    """The error names the layer and the op types that have groups."""
    with pytest.raises(UnsupportedLayerError, match=r'"pool" \(AvgPool\).*Conv2D'):
        mnn_grouping(Layer("pool", "AvgPool", 0))


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", 1),
        (b"\x03\x01\x00", 1),
        (b"\x02\x01\x00\x09\x00\x04\x01", 1),
        (b"\x00" * 4, 9),
        (b"\x02\x02\x00\x04\x00" + b"\x01\x00\x00\x00\x08\x00\x02\x00\x01\x80", 2),
        (b"\x02\x01\x00\x04\x00" + b"\x01\x00\x00\x00\x21" + b"\x00" * 9, 2),
    ],
    ids=["empty", "3 dimensions", "cut off", "unknown form", "2 groups for 1 scale", "33 bits"],
)
def test_broken_codes_are_an_error(content: bytes, kind: int) -> None:
    """Bytes that are cut off, of another shape or of an unknown form."""
    with pytest.raises(ModelFileError, match="codes of a weight"):
        decode_codes(np.frombuffer(content, np.uint8), kind, False, np.zeros(1, np.int8), 1)


def test_a_sparse_weight_beyond_what_a_file_can_mean_is_not_made() -> None:
    """14 bytes that claim 2^32 codes are refused before anything is allocated."""
    claim = b"\x02" + struct.pack("<2I", 1, 2**32 - 1) + struct.pack("<IB", 0, 1) + b"\x01\x00"
    with pytest.raises(ModelFileError, match="4294967295 codes"):
        decode_codes(np.frombuffer(claim, np.uint8), 2, True, np.zeros(1, np.int8), 1, 2**26)


@pytest.mark.parametrize("wide", [False, True])
def test_the_packed_forms_are_decoded_by_hand(wide: bool) -> None:
    """Shapes of 16 or 32 bits. Dense: numbers of the known codes. Sparse: steps from one stored
    code to the next, then their numbers; what lies between is the zero of its group.
    """
    shape = b"\x02" + struct.pack("<2I" if wide else "<2H", 2, 4)
    known = b"\x02\x05\xf9"  # two codes, 5 and -7
    zero = np.array([0, 3], np.int8)
    dense = shape + known + b"\x4d"  # 0100 1101
    codes = decode_codes(np.frombuffer(dense, np.uint8), 1, wide, zero, 0)
    assert codes.tolist() == [[5, -7, 5, 5], [-7, -7, 5, -7]]
    # Three codes with steps 1, 3, 2 of 2 bits, then the numbers 0, 1, 0 of 1 bit.
    sparse = shape + struct.pack("<IB", 3, 2) + b"\x78" + known + b"\x40"
    codes = decode_codes(np.frombuffer(sparse, np.uint8), 2, wide, zero, 0, most=8)
    assert codes.tolist() == [[0, 5, 0, 0], [-7, 3, 5, 3]]
    with pytest.raises(ModelFileError, match="2 groups of 4 codes"):
        decode_codes(np.frombuffer(sparse, np.uint8), 2, wide, zero, 0, most=7)


def test_steps_may_have_32_bits_and_no_more() -> None:
    """The widest steps that make sense are read; wider ones are refused."""
    shape = b"\x02" + struct.pack("<2H", 1, 4)
    for width, step in ((32, b"\x00\x00\x00\x02"), (33, b"\x00\x00\x00\x01\x00")):
        stored = shape + struct.pack("<IB", 1, width) + step + b"\x01\x09\x00"
        data = np.frombuffer(stored, np.uint8)
        if width == 32:
            assert decode_codes(data, 2, False, np.zeros(1, np.int8), 0).tolist() == [[0, 0, 9, 0]]
        else:
            with pytest.raises(ModelFileError, match="33 bits"):
                decode_codes(data, 2, False, np.zeros(1, np.int8), 0)


def test_the_plain_form_is_the_codes_themselves() -> None:
    """One int8 a weight, one group after the other, as older converters store them."""
    stored = np.array([[1, -2, 3], [-128, 127, 0]], np.int8)
    codes = decode_codes(stored.view(np.uint8).ravel(), 4, False, np.zeros(2, np.int8), 3)
    np.testing.assert_array_equal(codes, stored)
