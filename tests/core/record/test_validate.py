"""What a record must be for its graph."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.exceptions import RecordError
from graphquant_core.layer import Layer, Skip
from graphquant_core.plan import Plan
from graphquant_core.record import LayerFactors, Record, validate_record

PLAN = Plan(
    (
        Layer("a/Conv2D", "Conv2D", 0, 1, (3, 3, 2, 4), (3,), 3),
        Layer("a/AvgPool", "AvgPool", 0),
        Skip("b/Conv2D", "Conv2D", "the shape of its filter is not static"),
    )
)
CONV = LayerFactors(0.1, -128, [0.5, 0.25, 0.125, 1.0])
POOL = LayerFactors(0.1, 127)
EPSILON = 1.192092896e-7


def validate(factors: LayerFactors, name: str = "a/Conv2D") -> None:
    validate_record(Record({name: factors}), PLAN)


@given(
    st.floats(2**-22, 2**22, width=32),
    st.integers(-128, 127),
    st.lists(st.floats(2**-22, 2**22, width=32), min_size=4, max_size=4),
)
def test_deployable_factors_are_accepted(scale: float, offset: int, scale_w: list[float]) -> None:
    """Scales within (eps, 1/eps), an int8 offset and one or C weight scales are valid."""
    validate(LayerFactors(scale, offset, scale_w))
    validate(LayerFactors(scale, offset, scale_w[:1]))
    validate(LayerFactors(scale, offset), "a/AvgPool")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offset_d": 128}, r'offset_d \(128\) of layer "a/Conv2D"'),
        ({"offset_d": -129}, r"offset_d \(-129\)"),
        ({"scale_d": 0.0}, r"scale_d \(0\)"),
        ({"scale_d": -0.5}, r"scale_d \(-0.5\)"),
        ({"scale_d": float("nan")}, r"scale_d \(nan\)"),
        ({"scale_d": float("inf")}, r"scale_d \(inf\)"),
        ({"scale_d": EPSILON}, "scale_d"),
        ({"scale_d": 1 / EPSILON}, "scale_d"),
        ({"scale_w": [0.5, 0.5, 0.5, 0.0]}, r"scale_w \(0\)"),
        ({"scale_w": [0.5, 0.5, float("nan"), 0.5]}, r"scale_w \(nan\)"),
        ({"scale_w": [0.5, 0.5]}, r"scale_w \(2 values\).*1 or 4"),
        ({"scale_w": None, "offset_w": None}, "scale_w of .* is missing"),
        ({"offset_w": [0, 0]}, r"offset_w \(2 values\).*\(4\)"),
        ({"offset_w": None}, r"offset_w \(0 values\)"),
        ({"offset_w": [0, 0, 3, 0]}, r"offset_w \(3\) .* must be 0"),
        ({"dst_type": "INT4"}, r'dst_type \("INT4"\)'),
    ],
)
def test_factors_that_cannot_be_deployed_are_refused(
    change: dict[str, object], message: str
) -> None:
    """Each rule of AMCT's record is checked, and the error names the layer and the value."""
    with pytest.raises(RecordError, match=message) as caught:
        validate(attrs.evolve(CONV, **change))
    assert "a/Conv2D" in str(caught.value)


@pytest.mark.parametrize("change", [{"scale_w": [1.0]}, {"offset_w": [0]}])
def test_a_layer_without_weight_has_no_weight_scale(change: dict[str, object]) -> None:
    """scale_w and offset_w on an AvgPool are refused."""
    with pytest.raises(RecordError, match="not wanted: a layer of type AvgPool has no weight"):
        validate(attrs.evolve(POOL, **change), "a/AvgPool")


def test_a_key_that_is_no_layer_is_refused_with_the_closest() -> None:
    """A key that isn't in the graph is an error that suggests the nearest layer."""
    with pytest.raises(RecordError, match='did you mean "a/Conv2D"'):
        validate(CONV, "a/Conv2d")


def test_a_key_of_a_skipped_layer_is_refused_with_the_reason() -> None:
    """A key of a layer that can't be quantised is an error with the reason of the skip."""
    with pytest.raises(RecordError, match="filter is not static"):
        validate(CONV, "b/Conv2D")
