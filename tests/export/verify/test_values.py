"""Comparisons and verifications as values: NumPy and JSON, no TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys

import attrs
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from graphquant_core.exceptions import ModelFileError
from graphquant_core.runtime import LayerExecution
from graphquant_export.verification import (
    LAYER_HEADER,
    SUMMARY_HEADER,
    Accuracy,
    ArtifactFile,
    Comparison,
    LayerCheck,
    Limits,
    OutputCheck,
    Verification,
)
from graphquant_export.verification.comparison import Comparing

VALUES = st.floats(-100, 100, width=32)
PAIRS = st.integers(1, 6).flatmap(
    lambda n: st.tuples(*[hnp.arrays(np.float32, (n, 3), elements=VALUES)] * 2)
)


def compare(got, wanted, step=None):
    """Comparison of two arrays, their rows one after the other."""
    comparing = Comparing("y", step)
    for row in range(len(got)):
        comparing.add(got[row : row + 1], wanted[row : row + 1])
    return comparing.result()


@given(PAIRS)
def test_a_comparison_in_batches_is_that_of_the_whole(pair):
    """Largest, mean, SQNR and agreement as NumPy has them for the arrays at once."""
    got, wanted = (array.astype(np.float64) for array in pair)
    found = compare(*pair)
    spread = max(wanted.max(), 0) - min(wanted.min(), 0)
    step = spread / 255 if spread else 1.0
    assert found.step == pytest.approx(step)
    distance = np.abs(got - wanted) / step
    assert found.largest == pytest.approx(distance.max())
    assert found.mean == pytest.approx(distance.mean())
    noise, signal = np.square(got - wanted).sum(), np.square(wanted).sum()
    if noise and signal:
        assert found.sqnr == pytest.approx(10 * np.log10(signal / noise))
    else:
        assert found.sqnr is None
    assert found.agreement == pytest.approx((got.argmax(-1) == wanted.argmax(-1)).mean())
    assert (found.values, found.not_finite) == (got.size, 0)


@given(hnp.arrays(np.int8, (4, 3)), st.floats(0.01, 2), st.integers(-128, 127))
def test_on_the_artifacts_grid_both_sides_are_codes(codes, step, offset):
    """A reference within half a step of a grid value is no difference; one code off is one."""
    runtime = ((codes.astype(np.float64) - offset) * step).astype(np.float32)
    near = runtime + np.float32(0.4 * step)
    found = compare(runtime, near, step)
    assert (found.largest, found.mean, found.step_source) == (0.0, 0.0, "artifact")
    shifted = runtime.astype(np.float64)
    shifted[1, 2] += 3 * step
    found = compare(runtime, shifted, step)
    assert found.largest == 3.0
    assert found.mean == pytest.approx(3 / 12)


def test_beyond_the_ends_of_the_grid_the_reference_is_clipped():
    """What a grid of 8 bits can't hold is no difference where the runtime has its end."""
    ends = (-128 * 0.5, 127 * 0.5)
    comparing = Comparing("y", 0.5, ends)
    comparing.add(np.array([[63.5, -64.0, 1.0]]), np.array([[90.0, -70.0, 1.1]]))
    assert comparing.result().largest == 0.0
    comparing.add(np.array([[63.0, -64.0, 1.0]]), np.array([[90.0, -70.0, 1.1]]))
    assert comparing.result().largest == 1.0
    assert compare(np.array([[63.5]]), np.array([[90.0]]), 0.5).largest == 53.0


@given(hnp.arrays(np.int8, (4, 3)), hnp.arrays(np.float64, (4, 3), elements=VALUES))
def test_a_float_model_lies_on_no_grid(codes, wanted):
    """What rounding its answers to the artifact's grid costs is in the difference."""
    got = codes * 0.5
    comparing = Comparing("y", 0.5, on_grid=False)
    comparing.add(got, wanted)
    found = comparing.result()
    distance = np.abs(got - wanted) / 0.5
    assert found.mean == pytest.approx(distance.mean())
    assert found.largest == pytest.approx(distance.max())
    noise, signal = np.square(got - wanted).sum(), np.square(wanted).sum()
    if noise and signal:
        assert found.sqnr == pytest.approx(10 * np.log10(signal / noise))


@pytest.mark.parametrize("step", [None, 0.5])
@pytest.mark.parametrize(("wrong", "beyond"), [(2, False), (3, True)])
def test_one_value_in_ten_thousand_may_be_far_off(step, wrong, beyond):
    """Of 20,000 values in batches: the third largest difference is held to the limit."""
    random = np.random.default_rng(wrong)
    wanted = 0.5 * random.integers(-128, 128, (20, 1000)).astype(np.float64)
    got = wanted + 0.5 * random.integers(-3, 4, wanted.shape) * (random.random(wanted.shape) < 0.1)
    places = random.choice(wanted.size, wrong, replace=False)
    got.reshape(-1)[places] += np.where(wanted.reshape(-1)[places] > 0, -25.0, 25.0)
    comparing = Comparing("y", step)
    for rows in zip(np.split(got, 4), np.split(wanted, 4), strict=True):
        comparing.add(*rows)
    found = comparing.result()
    third = np.sort(np.abs(got - wanted).reshape(-1))[-3] / found.step
    assert found.largest > 40
    assert third <= found.largest_but_few <= 1.1 * third
    assert (Limits().layer_problem(found) is not None) == beyond


def test_nan_and_infinity_count_apart():
    """What is not finite on one side alone is counted and leaves the rest as it is."""
    wanted = np.array([[1.0, np.inf, 3.0, -np.inf, np.nan]], np.float32)
    got = np.array([[1.0, np.inf, np.nan, np.inf, np.nan]], np.float32)
    found = compare(got, wanted)
    assert (found.not_finite, found.largest, found.values) == (2, 0.0, 5)
    limits = Limits(mean=1e9, own_mean=1e9, largest=1e9, agreement=0.0)
    assert "2 of its 5" in limits.layer_problem(found)
    assert "2 of its 5" in limits.output_problem(found, classes=True)
    assert "2 of its 5" in limits.output_problem(found, classes=False)


def test_reading_and_showing_a_verification_starts_no_tensorflow():
    """JSON back to a Verification, and data to a page, without TensorFlow in sys.modules."""
    program = (
        "import sys\n"
        "from graphquant_export.report import render_page\n"
        "from graphquant_export.verification import Verification\n"
        "Verification.from_json(sys.stdin.read()).summary()\n"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=verification().to_json(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_another_shape_is_an_error():
    """The error has both shapes and the name."""
    with pytest.raises(ModelFileError, match=r'"y" has the shape \[2, 3\].* \[3, 2\]'):
        Comparing("y", None).add(np.zeros((2, 3)), np.zeros((3, 2)))


@pytest.mark.parametrize("shape", [(), (4,), (4, 1)], ids=str)
def test_without_classes_there_is_no_agreement(shape):
    """A scalar, a vector and a single column have no top-1 class."""
    comparing = Comparing("y", None)
    comparing.add(np.zeros(shape), np.ones(shape))
    assert comparing.result().agreement is None


def found(mean=0.1, largest=1.0, agreement=1.0, sqnr=40.0, rows=100):
    """A comparison."""
    return Comparison(100, 0.5, "range / 255", largest, mean, sqnr, 0, agreement, rows, largest)


def layer(name, comparison, execution="int8", reason=None):
    """The check of a layer."""
    return LayerCheck(name, "Conv2D", f"{name}/Relu", execution, comparison, comparison, reason)


def verification(**changed):
    """A verification with every kind of entry."""
    values = {
        "target": "ascend",
        "files": (ArtifactFile("m.pb", 10), ArtifactFile("m_deploy.pb", 9)),
        "samples": 8,
        "outputs": (
            OutputCheck("y", found(), found(sqnr=None, largest=0.0, mean=0.0), None),
            OutputCheck("z", found(), None, Accuracy(0.9, None, 0.8), found(sqnr=9.0), True),
        ),
        "executions": (
            LayerExecution("a", "Conv2D", "a", "int8"),
            LayerExecution("b", "Conv2D", None, "float", "why <b>"),
        ),
        "layers": (layer("a", found()), layer("b", None, "float", "not shown")),
        "limits": Limits(0.9, 0.5, 4.0, 0.5),
    }
    return Verification(**{**values, **changed})


def test_json_brings_a_verification_back():
    """from_json(to_json(v)) == v, and the JSON says whether it is ok, in standard JSON."""
    v = verification(layers=(layer("a", found(mean=3)), layer("b", None, "float", "not shown")))
    text = v.to_json()
    assert Verification.from_json(text) == v
    data = json.loads(text, parse_constant=pytest.fail)
    assert (data["ok"], data["first_divergence"]) == (False, "a")
    assert len(data["problems"]) == 1
    assert Verification.from_json(verification().to_json()) == verification()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"target": 1}', "null"])
def test_other_json_is_refused(text):
    """Text that isn't a verification is our own error."""
    with pytest.raises(ModelFileError, match="verification"):
        Verification.from_json(text)


def test_the_first_layer_beyond_the_limits_is_where_they_part():
    """In the order of the graph; by the mean, by the largest difference, or missing."""
    near, far = layer("near", found()), layer("far", found(largest=5.0))
    gone = layer("gone", None, "missing", "no such node")
    v = verification(layers=(near, far, gone), executions=())
    assert v.first_divergence() is far
    assert v.first_divergence(Limits(largest=5.0)) is gone
    assert v.first_divergence(Limits(own_mean=0.05)) is near
    assert verification(layers=(near,)).first_divergence() is None
    assert v.most_different() is near
    assert verification(layers=(layer("same", found(mean=0.0)), gone)).most_different() is None
    assert [problem.split(":")[0] for problem in v.problems()] == ['layer "far"', 'layer "gone"']


def test_outputs_are_held_to_agreement_and_mean():
    """The integer reference counts where there is one, else the simulation."""
    wrong, right = found(mean=9.0), found()
    v = verification(outputs=(OutputCheck("y", wrong, right),), layers=())
    assert v.ok()
    v = verification(outputs=(OutputCheck("y", wrong, None),), layers=())
    assert not v.ok()
    assert v.ok(Limits(mean=9.0))
    unequal = OutputCheck("y", right, found(agreement=0.5), classes=True)
    v = verification(outputs=(unequal,), layers=())
    assert 'output "y": its top-1 agreement is 50.00%' in v.problems()[0]
    assert verification(outputs=(attrs.evolve(unequal, classes=False),), layers=()).ok()


def test_a_missing_layer_is_a_problem_without_layer_comparison():
    """Executions alone tell that a layer is missing."""
    gone = LayerExecution("gone", "Conv2D", None, "missing", "no such node")
    v = verification(executions=(gone,), layers=())
    assert v.problems() == ('layer "gone": no such node',)


def test_rows_have_the_cells_of_their_header():
    """Rows for tables are as long as their headers and name outputs and layers."""
    rows = verification().summary()
    assert {len(row) for row in rows} == {len(SUMMARY_HEADER)}
    assert [row[:2] for row in rows] == [
        ("y", "integer reference"),
        ("y", "simulation"),
        ("z", "float model"),
        ("z", "simulation"),
    ]
    assert [row[2] for row in rows] == ["-", "-", "100.00%", "100.00%"]
    assert rows[0][-1] == "∞"
    layers = verification().layer_rows()
    assert {len(row) for row in layers} == {len(LAYER_HEADER)}
    assert [row[0] for row in layers] == ["a", "b"]
