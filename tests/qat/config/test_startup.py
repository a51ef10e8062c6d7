"""Reading a configuration doesn't wait for TensorFlow."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from graphquant_core.layer import Layer
from graphquant_core.plan import Plan
from graphquant_qat.config.defaults import default_config
from graphquant_qat.config.json_form import format_config, parse_config
from graphquant_qat.config.text_form import parse_definition
from graphquant_qat.log import set_logging_level

plan = Plan((Layer("conv", "Conv2D", 0, 1),))
assert parse_config(format_config(default_config(plan)), plan) == parse_definition("", plan)
assert "tensorflow" not in sys.modules
"""


def test_a_configuration_is_read_without_tensorflow(tmp_path):
    """Both forms are read and no module imports TensorFlow; importing writes no file."""
    subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, check=True)
    assert list(tmp_path.iterdir()) == []
