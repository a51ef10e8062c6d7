"""The rewritten graph trains wherever TensorFlow trains graphs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

import graphquant_qat as amct
from graphquant_core.record import parse_record

v1 = tf.compat.v1
ENGINES = Path(__file__).parent / "engines"


def run_engine(script: str, folder: Path) -> Any:
    done = subprocess.run(
        [sys.executable, str(ENGINES / script), str(folder)],
        capture_output=True,
        text=True,
        timeout=1200,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def falls(losses: list[float]) -> bool:
    return float(np.mean(losses[-8:])) < 0.7 * float(np.mean(losses[:3]))


def test_two_mirrored_replicas_train_one_clip_each_layer_in_step(tmp_path: Path) -> None:
    """MirroredStrategy: the loss falls; both replicas hold the same clips and write one record."""
    result = run_engine("mirrored.py", tmp_path)
    assert falls(result["losses"])
    assert {name for name in result["clips"] if "clip_max" in name} == {
        "conv/weights/ULQ_clip_max",
        "pool/AvgPool/ULQ_clip_max",
        "dense/weights/ULQ_clip_max",
    }
    for first, second in result["clips"].values():
        assert first == second
    assert result["clips"]["conv/weights/ULQ_batches"] == [1, 1]
    first, second = result["records"]
    assert first == second
    assert list(parse_record(first)) == ["conv/Conv2D", "pool/AvgPool", "dense/MatMul"]


def test_two_workers_share_their_clips_on_the_parameter_server(tmp_path: Path) -> None:
    """Between-graph replication: every variable on the server, the same for both workers."""
    result = run_engine("parameter_server.py", tmp_path)
    assert falls(result["losses"]["0"])
    assert falls(result["losses"]["1"])
    for name, devices in result["placed"].items():
        assert all("/job:ps" in device for device in devices), name
    clips = {name: values for name, values in result["clips"].items() if "ULQ" in name}
    assert len(clips) == 8
    for name, (first, second) in clips.items():
        assert first == second, name
        if "clip_max" in name:
            assert first not in (0.0, 1.0)


def test_a_monitored_session_trains_and_resumes(
    network: Callable[[bool], Any], tmp_path: Path
) -> None:
    """MonitoredTrainingSession finalises the graph after the rewrite; its checkpoint resumes."""
    random = np.random.default_rng(0)
    x = random.normal(size=(32, 8, 8, 3)).astype(np.float32)
    feed_values = (x, (x[:, 0, 0, 0] > 0).astype(np.int64))
    seen: list[float] = []
    for _ in range(2):
        net = network(True)
        config_file = str(tmp_path / "config.json")
        amct.create_quant_retrain_config(config_file, net.graph)
        amct.create_quant_retrain_model(net.graph, config_file, str(tmp_path / "record.txt"))
        with net.graph.as_default():
            global_step = v1.train.get_or_create_global_step()
            step = v1.train.GradientDescentOptimizer(0.1).minimize(net.loss, global_step)
            batches = net.graph.get_tensor_by_name("conv/weights/ULQ_batches/Read/ReadVariableOp:0")
            with v1.train.MonitoredTrainingSession(
                checkpoint_dir=str(tmp_path / "run"),
                save_checkpoint_secs=600,
                log_step_count_steps=0,
            ) as session:
                feed = dict(zip((net.x, net.labels), feed_values, strict=True))
                started = int(session.run(global_step))
                assert int(session.run(batches)) == (1 if started else 0)
                seen += [float(session.run([net.loss, step], feed)[0]) for _ in range(10)]
    assert started == 10
    assert falls(seen)
    assert abs(seen[10] - seen[9]) < 0.5 * (seen[0] - seen[9])
