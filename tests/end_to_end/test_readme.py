"""The README's examples are run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("title", ["A definitive example", "Weight-only for MNN"])
def test_an_example_prints_what_the_readme_says(tmp_path: Path, title: str) -> None:
    """A script in the README runs in an empty folder, and its output is the README's, exactly."""
    section = README.read_text(encoding="utf-8").split(f"## {title}\n")[1]
    script, output = re.findall(r"^```(?:python)?\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)[
        :2
    ]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == output
