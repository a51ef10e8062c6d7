"""The nearest known names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphquant_core import suggestions
from graphquant_core.suggestions import closest


@pytest.mark.parametrize(
    ("name", "known", "expected"),
    [
        ("conv1/Conv2d", ["conv1/Conv2D", "fc/MatMul"], '; did you mean "conv1/Conv2D"?'),
        ("zzz", ["conv1/Conv2D"], ""),
        ("ULQ", ["ulq"], '; did you mean "ulq"?'),
        ("ab1", ["ab2", "ab3"], '; did you mean "ab3" or "ab2"?'),
        ("abcd1", ["abcd2", "abcd3", "abcd4", "x"], "three"),
        ("cnv", ["net/conv/Conv2D", "net/fc/MatMul"], '; did you mean "net/conv/Conv2D"?'),
        ("Conv", ["net/conv/Conv2D"], '; did you mean "net/conv/Conv2D"?'),
        ("", ["/x"], ""),
        ("x", [], ""),
        ("", ["x"], ""),
    ],
)
def test_closest_names_read_as_a_question(name: str, known: list[str], expected: str) -> None:
    """The names that are alike, best first, end a sentence; no likeness, no words."""
    sentence = closest(name, known)
    if expected == "three":
        assert sentence.count('"') == 6
        assert '", "' in sentence
        assert '" or "' in sentence
    else:
        assert sentence == expected


@given(st.text(max_size=40), st.lists(st.text(max_size=40), max_size=300))
def test_closest_names_are_known_names(name: str, known: list[str]) -> None:
    """Any text gives a sentence about known names, and a known name is always found."""
    assert closest(name, known) == "" or any(
        f'"{other}"' in closest(name, known) for other in known
    )
    assert f'"{name}"' in closest(name, [*known, name], n=1) or any(
        other.casefold() == name.casefold() for other in known
    )


def test_few_names_are_compared_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many names are known, and however long, at most 100 short ones are compared."""
    compared: list[list[str]] = []

    def spy(name: str, keys: list[str], n: int) -> list[str]:
        compared.append([name, *keys])
        return keys[:n]

    monkeypatch.setattr(suggestions.difflib, "get_close_matches", spy)
    known = [f"block_{index}/Conv2D/{'k' * 1000}" for index in range(5000)]
    assert "block_77/" in closest("block_77/Conv2d" + "k" * 100_000, known)
    assert len(compared[0]) == 101
    assert max(map(len, compared[0])) <= 160
