"""tf_slim's ResNet-50, as many a user of AMCT has it: from the float graphs to the deployed one."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "scripts" / "slim_resnet.py"
IMAGE_SIZE, BATCH, STEPS, IMAGES = 64, 4, 1, 2

pytestmark = pytest.mark.skipif(
    not (importlib.util.find_spec("tf_slim") and importlib.util.find_spec("tf_keras")),
    reason="tf_slim and tf_keras are not installed",
)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the script prints, in a process whose tf.keras is tf_keras."""
    numbers = map(str, (IMAGE_SIZE, BATCH, STEPS, IMAGES))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path_factory.mktemp("resnet")), *numbers],
        capture_output=True,
        text=True,
        timeout=1200,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("mode", ["training", "inference"])
def test_every_convolution_is_a_layer_of_the_plan(result: Any, mode: str) -> None:
    """54 convolutions, 54 layers, nothing skipped, with batch norm in either mode."""
    found = result["graphs"][mode]
    assert (found["convolutions"], found["layers"], found["skips"]) == (54, 54, {})


def test_every_layer_is_recorded_and_deployed(result: Any) -> None:
    """One record and one AscendDequant for each, and no fake quantiser is left."""
    assert (result["recorded"], result["dequants"], result["fake_quantisers"]) == (54, 54, 0)


def test_each_layer_computes_what_was_simulated(result: Any) -> None:
    """Given what the fake-quantised layers before it computed: within one step of 255."""
    found = result["layer_by_layer"]
    assert found["compared"] == 50  # 49 Relus and the logits
    assert found["largest_steps"] < 1
    assert found["mean_steps"] < 0.02
    assert found["same_top1"] == 1
