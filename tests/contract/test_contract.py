"""The behaviour when something is wrong, row by row: data/contract.txt says which tests hold it."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROWS = (TESTS / "contract" / "data" / "contract.txt").read_text().strip().split("\n\n")


@functools.cache
def functions(file: str) -> frozenset[str]:
    tree = ast.parse((TESTS / file).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.partition("\n")[0])
def test_each_row_is_held_by_tests_that_exist(row: str) -> None:
    """A test that is renamed or removed takes its row along, or the row finds another."""
    tests = [line.strip().split("::") for line in row.splitlines()[1:]]
    assert tests
    for file, function in tests:
        assert function in functions(file), f"{file} has no {function}"
