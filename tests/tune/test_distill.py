"""Self-distillation brings the answers nearer to the float model's, on the target's own grids."""

from __future__ import annotations

import numpy as np
import pytest

from graphquant_core.graph.frozen import import_frozen
from graphquant_export import export, verify
from graphquant_export.inputs import LoadedModel
from graphquant_tune import tune, weights
from graphquant_tune.distill import distil
from graphquant_tune.folded import fold_model
from graphquant_tune.grids import put_on_grids, quantise_at
from graphquant_tune.loop import Schedule
from graphquant_tune.quality import FloatAnswers
from graphquant_tune.samples import Samples
from graphquant_tune.weights_judge import WeightsJudge


def prepared(models, images, name):
    """(folded model, samples, weights at 2 and at 8 bits)."""
    model = models[name]()
    folded = fold_model(model.graph_def, model.outputs)
    samples = Samples(import_frozen(folded.graph_def), {"images": images}, 32)
    return folded, samples, quantise_at(folded, (8, 2), ())


def tuned(models, images, name="classifier", target="mnn", **options):
    options = {"weight_only": True, "bits": 2, "steps": 60, "batch_size": 32, **options}
    return tune(models[name](), {"images": images}, target, **options)


@pytest.mark.parametrize("name", ["classifier", "denoiser"])
def test_training_brings_the_answers_nearer(models, images, name):
    """At 2 bits by far, for class scores and for images alike."""
    folded, samples, widths = prepared(models, images, name)
    bits = {layer.name: 2 for layer in widths.plan.layers}
    values, ended = distil(folded, bits, folded.values(), samples, samples, Schedule(150))
    assert ended.steps == 150

    def distance(changed):
        made = put_on_grids(folded, changed, bits, widths)
        return (
            FloatAnswers(folded.graph_def, folded.outputs, samples).quality(made.graph_def).distance
        )

    assert distance(values) < 0.6 * distance(widths.values(folded, bits))


@pytest.mark.usefixtures("mnn")
@pytest.mark.parametrize("target", ["mnn", "onnx", "litert"])
def test_the_runtime_computes_what_was_tuned(models, images, tmp_path, target):
    """Every weight lies on the grid that the target finds."""
    pytest.importorskip({"mnn": "MNN", "onnx": "onnxruntime", "litert": "ai_edge_litert"}[target])
    found = tuned(models, images, target=target, bits=3, steps=20)
    model = LoadedModel(found.graph_def, ("images",), found.outputs)
    artifact = export(model, found.factors, target, tmp_path / "model")
    checked = verify(artifact, {"images": images})
    assert checked.ok(), checked.problems()


def test_the_result_is_never_further_than_without_training(models, images, caplog):
    """Where training gains nothing its start is kept, and that is said."""
    found = tuned(models, images, bits=8, steps=1)
    assert found.after == found.before
    assert "its start is kept" in caplog.text


def test_weights_on_their_grids_stay_as_they_are(models, images):
    """What training returns is what is exported: quantising it again changes nothing."""
    folded, samples, widths = prepared(models, images, "classifier")
    bits = {"conv": 4, "depthwise": 8, "pointwise": 2}
    values, _ = distil(folded, bits, folded.values(), samples, samples, Schedule(10))
    made = put_on_grids(folded, values, bits, widths)
    graph = import_frozen(made.graph_def)
    ports = {layer.name: layer for layer in folded.layers}
    for name, number in bits.items():
        weight = values[ports[name].weight]
        constant = graph.get_operation_by_name(name).inputs[1].op.get_attr("value")
        stored = np.frombuffer(constant.tensor_content, np.float32).reshape(weight.shape)
        np.testing.assert_allclose(stored, weight, atol=1e-5 * np.abs(weight).max())
        channels = weight.reshape(-1, weight.shape[-1] if name != "depthwise" else 8).T
        for channel in channels:
            span = np.ptp(channel)
            assert len(np.unique(np.round(channel / span * 1e4))) <= 2**number


def test_the_same_seed_gives_the_same_values(models, images):
    """Bit for bit; and another one gives others."""
    folded, samples, widths = prepared(models, images, "denoiser")
    bits = {layer.name: 2 for layer in widths.plan.layers}
    one, same, other = (
        distil(folded, bits, folded.values(), samples, samples, Schedule(8, seed=seed))[0]
        for seed in (3, 3, 4)
    )
    for name, value in one.items():
        np.testing.assert_array_equal(same[name], value)
    assert any(not np.allclose(other[name], value, atol=1e-3) for name, value in one.items())


@pytest.mark.parametrize(("name", "bits"), [("classifier", 2), ("denoiser", None)])
def test_the_same_seed_gives_the_same_bytes(models, images, tmp_path, monkeypatch, name, bits):
    """The files of two calls, whose training is what they hold."""

    def to_the_nearest(model, bits, widths, *_):
        return put_on_grids(model, widths.values(model, bits), bits, widths)

    # Training keeps what GPTQ began with on a model as small as this.
    monkeypatch.setattr(weights, "calibrated", to_the_nearest)
    target = "mnn" if bits else "litert"
    pytest.importorskip({"mnn": "MNN", "litert": "ai_edge_litert"}[target])
    options = {"weight_only": bits is not None, "bits": bits, "steps": 30}
    written = []
    for run in ("one", "same"):
        found = tuned(models, images, name, target, **options)
        assert found.after != found.before
        model = LoadedModel(found.graph_def, ("images",), found.outputs)
        (tmp_path / run).mkdir()
        export(model, found.factors, target, tmp_path / run / "model")
        files = sorted((tmp_path / run).iterdir())
        written.append({path.name: path.read_bytes() for path in files})
    assert written[0]
    assert written[0] == written[1]


def test_ctrl_c_keeps_what_was_learned(models, images):
    """The result is whole, and says that it was stopped."""

    def stop(stage, done, *_):
        if stage == "training" and done >= 30:
            raise KeyboardInterrupt

    found = tuned(models, images, steps=500, report=stop)
    assert found.training.interrupted
    assert found.training.steps < 500
    assert found.after.distance <= found.before.distance


@pytest.mark.parametrize("interrupted", [False, True])
def test_what_was_nearest_on_the_judges_is_kept(models, images, monkeypatch, interrupted):
    """Eight samples are learned by heart; and what is judged is what is frozen."""
    folded, samples, widths = prepared(models, images, "classifier")
    bits = {layer.name: 2 for layer in widths.plan.layers}
    learned, judges = samples._with(samples.order[:8]), samples._with(samples.order[8:72])
    look, found = WeightsJudge.loss, []

    def noted(self):
        found.append(look(self))
        return found[-1]

    def stop(progress):
        if interrupted and progress.step == 60:
            raise KeyboardInterrupt

    monkeypatch.setattr(WeightsJudge, "loss", noted)
    values, ended = distil(
        folded, bits, folded.values(), learned, judges, Schedule(100), progress=stop
    )
    assert ended.interrupted == interrupted
    assert min(found) < 0.9 * found[-1]
    answers = FloatAnswers(folded.graph_def, folded.outputs, judges)
    kept = answers.quality(put_on_grids(folded, values, bits, widths).graph_def)
    assert kept.distance == pytest.approx(min(found), rel=1e-4)


def test_minutes_end_the_training(models, images):
    """Its rate has fallen by then; what was learned is kept."""
    found = tuned(models, images, steps=100_000, minutes=0.05)
    assert 0 < found.training.steps < 100_000
    assert not found.training.interrupted


@pytest.mark.parametrize("target", ["ascend", "litert", "onnx"])
def test_int8_is_tuned_on_the_roundings_of_the_target(models, images, tmp_path, target):
    """It is exported from its record alone, and the runtime computes what was simulated."""
    if target != "ascend":
        pytest.importorskip({"onnx": "onnxruntime", "litert": "ai_edge_litert"}[target])
    found = tuned(models, images, target=target, weight_only=False, bits=None, steps=60)
    assert found.after.distance <= found.before.distance
    assert set(found.bits.values()) == {8}
    model = LoadedModel(found.graph_def, ("images",), found.outputs)
    artifact = export(model, found.factors, target, tmp_path / "model")
    checked = verify(artifact, {"images": images})
    assert checked.ok(), checked.problems()
