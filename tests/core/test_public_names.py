"""The public face of graphquant_core: small, complete, and quick to import."""

from __future__ import annotations

import subprocess
import sys

import graphquant_core


def test_importing_the_package_loads_neither_tensorflow_nor_numpy() -> None:
    """Import time is a feature: TensorFlow alone costs seconds."""
    script = "import sys, graphquant_core; print({'tensorflow', 'numpy'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_every_public_name_exists_and_no_other_does() -> None:
    """`__all__` is what `from graphquant_core import *` gives."""
    for name in graphquant_core.__all__:
        assert getattr(graphquant_core, name) is not None
    assert not hasattr(graphquant_core, "no_such_name")


def test_a_public_name_is_the_one_of_its_module() -> None:
    """Loading late hands on the same object."""
    from graphquant_core.grid import Grid

    assert graphquant_core.Grid is Grid
