"""Laws of allocations, of goals, and of sizes."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core.exceptions import BitsError, ConfigError
from graphquant_tune.allocation import allocate_path, first_that
from graphquant_tune.file_sizes import Sizes, largest_within
from graphquant_tune.goals import checked_bits, parse_within, size_in_bytes
from graphquant_tune.layer_costs import LayerSensitivity
from graphquant_tune.quality import Quality

WIDTHS = (8, 6, 4, 3, 2)
DISTANCES = st.lists(st.floats(0, 10), min_size=len(WIDTHS), max_size=len(WIDTHS)).map(sorted)
LAYERS = st.lists(
    st.tuples(st.integers(1, 10_000), DISTANCES), min_size=1, max_size=6
).map(
    lambda rows: [
        LayerSensitivity(f"layer{i}", "Conv2D", size, dict(zip(WIDTHS, distances, strict=True)))
        for i, (size, distances) in enumerate(rows)
    ]
)  # fmt: skip


def test_layers_that_are_lost_are_narrowed_last_and_then_at_once():
    """An infinite distance is worse than any other; behind it nothing more can be lost."""
    lost = dict(zip(WIDTHS, (1e-3, math.inf, math.inf, math.inf, math.inf), strict=True))
    fine = dict(zip(WIDTHS, (0.0, 1.0, 2.0, 3.0, 4.0), strict=True))
    layers = [LayerSensitivity("a", "Conv2D", 10, lost), LayerSensitivity("b", "Conv2D", 10, fine)]
    path = allocate_path(layers, WIDTHS)
    assert [bits["b"] for bits in path[:5]] == list(WIDTHS)
    assert {bits["a"] for bits in path[:5]} == {8}
    assert path[-1] == {"a": 2, "b": 2}


@given(LAYERS)
def test_a_path_goes_from_the_widest_to_the_narrowest_a_step_at_a_time(layers):
    """Each step takes one layer one width down, the one that costs least for each bit saved."""
    path = allocate_path(layers, WIDTHS)
    assert path[0] == {layer.name: 8 for layer in layers}
    assert path[-1] == {layer.name: 2 for layer in layers}
    assert len(path) == 1 + len(layers) * (len(WIDTHS) - 1)
    by_name = {layer.name: layer for layer in layers}

    def price(name, bits):
        narrower = WIDTHS[WIDTHS.index(bits) + 1]
        distances = by_name[name].distances
        cost = max(distances[narrower] - distances[bits], 0)
        return cost / (by_name[name].weights * (bits - narrower))

    for before, after in pairwise(path):
        (changed,) = [name for name in before if before[name] != after[name]]
        assert WIDTHS.index(after[changed]) == WIDTHS.index(before[changed]) + 1
        left = [name for name, bits in before.items() if bits > 2]
        assert price(changed, before[changed]) == min(price(n, before[n]) for n in left)


@given(st.lists(st.booleans(), max_size=20))
def test_the_first_that_holds_is_found_by_halving(values):
    """As by looking at each in turn, when what holds for one holds for all behind it."""
    values = sorted(values)
    wanted = values.index(True) if True in values else None
    assert first_that(range(len(values)), lambda i: values[i]) == wanted


@given(LAYERS, st.integers(0, 5_000), st.floats(0.9, 1.3), st.floats(0, 1), st.integers(0, 3_000))
def test_what_is_chosen_for_a_size_really_weighs_no_more(layers, fixed, error, share, more):
    """However far the estimate is off; a size below the smallest is an error that says it.

    Each width beyond the first weighs `more` here, which sizes of uniform files don't tell. What is
    chosen is no smaller than the first allocation that is sure to fit.
    """

    def measure(bits):
        weights = error * sum(layer.weights * bits[layer.name] for layer in layers)
        return int(fixed + weights) + more * (len(set(bits.values())) - 1)

    uniform = {b: measure({layer.name: b for layer in layers}) for b in WIDTHS}
    sizes = Sizes(uniform, {layer.name: layer.weights for layer in layers})
    path = allocate_path(layers, sizes.widths)
    size = int(uniform[2] + share * (uniform[8] - uniform[2]))
    bits, weighs = largest_within(path, size, sizes, measure)
    assert measure(bits) == weighs <= size
    most = more * (len(WIDTHS) - 1) + 3
    sure = first_that(path, lambda bits: sizes.estimate(bits) + most <= size)
    assert sure is None or path.index(bits) <= path.index(sure)
    with pytest.raises(ConfigError, match=rf"cannot be reached: the smallest has {uniform[2]}"):
        largest_within(path, uniform[2] - 1, sizes, measure)


def test_widths_that_save_nothing_are_not_used():
    """A target that stores 6 bits as 8, and 3 and 2 as 4, has two widths."""
    assert Sizes({8: 800, 6: 800, 4: 400, 3: 400, 2: 400}, {"a": 100}).widths == (8, 4)


@pytest.mark.parametrize(
    ("said", "bytes_"),
    [(90_000, 90_000), ("90kB", 90_000), ("1.5 MB", 1_500_000), ("2kiB", 2048), ("12%", 120),
     ("7", 7)],
)  # fmt: skip
def test_sizes(said, bytes_):
    """In bytes, in their multiples, or as a share of the float graph."""
    assert size_in_bytes(said, 1000) == bytes_


@pytest.mark.parametrize("said", ["", "kB", "90 stones", "-5kB", "0", 0, "0%", True, None])
def test_what_is_no_size_is_refused(said):
    """The error names the argument and its value."""
    with pytest.raises(ConfigError, match=r"^size "):
        size_in_bytes(said, 1000)


def test_qualities():
    """30 dB or more, or at most 1 of 100 answers changed."""
    assert parse_within("30dB").holds(Quality(0, 30.0, 0.5))
    assert not parse_within("30 dB").holds(Quality(0, 29.9, 1.0))
    assert parse_within("1%").holds(Quality(0, 0, 0.995))
    assert not parse_within("1%").holds(Quality(0, 99, 0.98))
    with pytest.raises(ConfigError, match="no class scores"):
        parse_within("1%").holds(Quality(0, 99, None))


@pytest.mark.parametrize("said", ["", "30", "dB", "200%", "1 point", True])
def test_what_is_no_quality_is_refused(said):
    """The error says what is allowed."""
    with pytest.raises(ConfigError, match=r"^within .*30dB.*1%"):
        parse_within(said)


@pytest.mark.parametrize("bits", [1, 9, 4.0, "4", True, None])
def test_bits_are_from_2_to_8(bits):
    """The error names the value."""
    with pytest.raises(BitsError, match="from 2 to 8"):
        checked_bits(bits)
