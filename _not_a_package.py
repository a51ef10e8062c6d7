"""The build backend of the workspace root: it refuses to build."""

from __future__ import annotations

from typing import NoReturn

MESSAGE = (
    "The root of the graphquant workspace is not a package: "
    "install ./packages/core ./packages/export ./packages/qat ./packages/wq ./packages/tune "
    "./packages/cli instead."
)


def build_wheel(*_: object) -> NoReturn:
    """Refuse `pip install .` and `pip wheel .`."""
    raise SystemExit(MESSAGE)


def build_editable(*_: object) -> NoReturn:
    """Refuse `pip install -e .`."""
    raise SystemExit(MESSAGE)


def build_sdist(*_: object) -> NoReturn:
    """Refuse `python -m build`."""
    raise SystemExit(MESSAGE)
