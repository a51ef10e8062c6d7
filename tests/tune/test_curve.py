"""Size against quality, and the chapter of a report that draws it."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise

import attrs
import numpy as np
import pytest

import graphquant_export as gq
from graphquant_core.exceptions import ConfigError
from graphquant_export.report import charts
from graphquant_export.report.elements import as_html
from graphquant_tune import report_chapter, tune
from graphquant_tune.curve import said_of_bits, spread
from graphquant_tune.quality import Quality


def tuned(models, images, name="classifier", target="onnx", **options):
    return tune(models[name](), {"images": images}, target, steps=0, curve=True, **options)


@pytest.mark.parametrize("goal", [{"bits": 3}, {"within": "25dB"}, {"size": 3650}])
def test_fewer_bytes_are_further_from_the_float_model(models, images, goal):
    """From all at 8 bits to all at the narrowest that is stored; the chosen one is there once."""
    pytest.importorskip("onnxruntime")
    found = tuned(models, images, weight_only=True, **goal)
    sizes = [point.bytes for point in found.curve]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) > 3
    ratios = [point.quality.sqnr for point in found.curve]
    assert ratios[0] > ratios[-1]
    (chosen,) = [point for point in found.curve if point.chosen]
    assert chosen.said == said_of_bits(list(found.bits.values()))
    if "size" in goal:
        assert chosen.bytes <= goal["size"]


def test_the_chosen_size_is_that_of_the_file(models, images, tmp_path):
    """To the byte, in int8 as for weights alone; qualities are those of the files' numbers."""
    pytest.importorskip("onnxruntime")
    model = models["denoiser"]()
    for options in ({"weight_only": True}, {}):
        found = tuned(models, images, "denoiser", **options)
        (chosen,) = [point for point in found.curve if point.chosen]
        graph = gq.LoadedModel(found.graph_def, model.inputs, found.outputs)
        artifact = gq.export(graph, found.factors, "onnx", tmp_path / "m")
        size = artifact.paths[0].stat().st_size
        assert chosen.bytes == size
    assert chosen.quality == found.before
    assert chosen.said == "4 of 4 layers in int8"


def test_more_layers_in_int8_are_further_and_smaller(models, images):
    """The ones that cost least come first."""
    found = tuned(models, images, "denoiser", "ascend")
    assert [point.said for point in found.curve] == [
        f"{count} of 4 layers in int8" for count in (1, 2, 3, 4)
    ]
    distances = [point.quality.distance for point in found.curve]
    assert all(a < b for a, b in pairwise(distances))


def test_points_are_spread_from_the_first_to_the_last():
    """All of a few; of many as many as were asked for."""
    assert spread(range(5), 12) == list(range(5))
    found = spread(range(100), 12)
    assert (len(set(found)), found[0], found[-1]) == (12, 0, 99)


def test_without_being_asked_nothing_is_measured(models, images):
    """The curve is empty, and it must be asked for with a bool."""
    found = tune(models["classifier"](), {"images": images}, "onnx", weight_only=True, steps=0)
    assert found.curve == ()
    with pytest.raises(ConfigError, match=r"curve \('yes'\)"):
        tune(models["classifier"](), {"images": images}, "onnx", curve="yes")


def test_the_page_shows_bits_costs_and_the_curve(models, images, tmp_path):
    """Each layer, each point and both qualities, in the page and in its data; no script of ours."""
    pytest.importorskip("onnxruntime")
    model, samples = models["classifier"](), {"images": images}
    found = tuned(models, images, weight_only=True, within="30dB")
    graph = gq.LoadedModel(found.graph_def, model.inputs, found.outputs)
    artifact = gq.export(graph, found.factors, "onnx", tmp_path / "m")
    chapter = report_chapter(found)
    page, data = gq.write_report(
        tmp_path / "r.html", gq.verify(artifact, samples), artifact.source, samples,
        chapters=[chapter],
    )  # fmt: skip
    text = re.sub(r"<[^>]*>", "", page.read_text())
    read = json.loads(data.read_text())["tuning"]
    assert read == json.loads(json.dumps(chapter.data))
    for title in (
        "Before and after", "Size against quality", "Bits by layer", "What each layer costs",
        "Targets side by side",
    ):  # fmt: skip
        assert title in text
    for layer in found.sensitivities:
        assert f"{layer.name}" in text
        assert f"{layer.distances[3]:.4g}" in text
    for point in found.curve:
        assert point.said in text
        assert f"{point.quality.sqnr:.1f} dB" in text
    assert f"{found.after.sqnr:.1f} dB" in text
    assert page.read_text().count('class="dot chosen"') == 1


def test_what_is_no_number_is_shown_as_such(models, images, tmp_path):
    """A layer whose loss is infinite, a point without a ratio; the page without verification."""
    found = tuned(models, images, "denoiser", "ascend", within="20dB")
    worst = attrs.evolve(found.sensitivities[0], distances={8: math.inf})
    lost = attrs.evolve(found.curve[0], quality=Quality(math.inf, -math.inf, None), chosen=False)
    broken = attrs.evolve(found, sensitivities=(worst,), curve=(*found.curve, lost))
    source = gq.export(
        gq.LoadedModel(found.graph_def, ("images",), found.outputs), found.factors, "ascend",
        tmp_path / "m",
    ).source  # fmt: skip
    samples = {"images": images[:8]}
    page, data = gq.write_report(
        tmp_path / "r.html", [], source, samples, chapters=[report_chapter(broken)]
    )
    assert "∞" in page.read_text()
    assert "Targets side by side" not in page.read_text()
    assert "Infinity" not in data.read_text()
    with pytest.raises(ConfigError, match="at least one Verification"):
        gq.write_report(tmp_path / "s.html", [], source, samples)


def test_a_curve_lies_where_its_numbers_say():
    """Its ends at 5 and 95 % of both axes, larger values higher."""
    line = [(100.0, 10.0), (200.0, 20.0), (300.0, 40.0)]
    html = as_html(charts.curve(line, [(200.0, 25.0, "chosen")], "a curve"))
    (path,) = re.findall(r'd="M([^"h]*)" class="line"', html)
    places = np.array([part.split() for part in path.split("L")], float) / (100, 40)
    np.testing.assert_allclose(places, [(0.05, 0.95), (0.5, 0.65), (0.95, 0.05)], atol=1e-9)
    (dot,) = re.findall(r'd="M([^"h]*)h0" class="dot chosen"', html)
    np.testing.assert_allclose(np.array(dot.split(), float) / (100, 40), (0.5, 0.5), atol=1e-9)
    assert "NaN" not in as_html(charts.curve([(1.0, 1.0)], [], "one point"))
