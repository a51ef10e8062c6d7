"""Names of modules."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = sorted(path.parent for path in ROOT.glob("packages/*/src/**/__init__.py"))


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_no_name_that_a_room_hands_on_hides_a_module(room):
    """`import room.module as m` gives the module, whatever the room's face has."""
    modules = {path.stem for path in room.glob("*.py")} | {path.parent.name for path in
               room.glob("*/__init__.py")}  # fmt: skip
    tree = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    package = ".".join(room.relative_to(next(p for p in room.parents if p.name == "src")).parts)
    handed_on = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module != package
        for alias in node.names
    }
    assert not handed_on & modules
