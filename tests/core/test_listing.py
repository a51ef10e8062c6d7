"""Lists and values inside of messages stay short."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphquant_core.listing as listing

PACKAGES = Path(__file__).parents[2] / "packages"
SEPARATORS = {", ", "; ", " or ", " | ", ",", " and "}


def joins(path: Path) -> list[int]:
    """Lines on which a text that separates words is told to join something."""
    return [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "join"
        and isinstance(node.func.value, ast.Constant)
        and node.func.value.value in SEPARATORS
    ]


def test_every_list_in_a_message_is_written_by_one_module() -> None:
    """Nothing else in the packages joins words by commas, semicolons or "or"."""
    files = sorted(PACKAGES.glob("*/src/**/*.py"))
    with_joins = {path.name for path in files if joins(path)}
    assert len(files) > 300
    assert with_joins == {"listing.py"}


@pytest.mark.parametrize("count", [0, 1, 2, 8, 9, 30_000])
def test_a_list_shows_its_first_names_and_how_many_follow(count: int) -> None:
    """Eight names, then the number of the others; nothing is counted twice."""
    names = [f"layer_{index}/{'x' * 1000}" for index in range(count)]
    for text in (listing.listed(names), listing.listed_names(names), listing.sentences(names)):
        assert len(text) <= 9 * (listing.LONGEST_SENTENCE + 20)
        shown = text.count("layer_")
        assert shown == min(count, 8)
        assert (f"and {count - 8} more" in text) == (count > 8)
    assert listing.listed([]) == "none"
    assert listing.listed([], nothing="") == ""


def test_choices_are_shown_whole_as_far_as_vocabularies_go() -> None:
    """32 of them, with commas, and "or" before the last one where one is to be chosen."""
    words = [f"w{index}" for index in range(40)]
    assert listing.choices(words[:32]).split(", ") == words[:32]
    assert listing.choices(words).endswith("w31, and 8 more")
    assert listing.either(words[:3]) == "w0, w1 or w2"
    assert listing.either(words[:2]) == "w0 or w1"
    assert listing.either(words[:1]) == "w0"
    assert listing.either(words).endswith("w31 or 8 more")
    assert listing.either([], nothing="a text") == "a text"


@pytest.mark.parametrize(
    "value",
    [
        ["x" * 10_000] * 10_000,
        dict.fromkeys(range(10000), "x" * 10000),
        np.zeros((1000, 1000)),
        "x" * 100_000,
        10**5000,
        [[[["x" * 1000] * 100] * 100] * 100],
        {("x" * 1000,) * 100: 1},
    ],
    ids=["list", "dict", "array", "text", "number", "nested", "keys"],
)
def test_a_value_is_shown_short(value: Any) -> None:
    """However long its own repr is."""
    assert len(listing.brief_repr(value)) < 3000


@pytest.mark.parametrize("value", [4, True, None, "a", [1, 2], {"a": 1}, (1,), 2.5])
def test_a_short_value_is_shown_whole(value: Any) -> None:
    """As Python shows it."""
    assert listing.brief_repr(value) == repr(value)
