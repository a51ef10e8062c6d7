"""The report: one page that needs nothing else, its data beside it."""

from __future__ import annotations

import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import attrs
import numpy as np
import pytest
import tensorflow as tf

from graphquant_core.exceptions import ConfigError, FileWriteError, RangeError
from graphquant_core.runtime import LayerExecution
from graphquant_export.report import render_page, write_report
from graphquant_export.report.histogram import Counting
from graphquant_export.targets.ascend import export_ascend
from graphquant_export.verification import verify

HOSTILE = '<script>alert("x")</script>&lt;\'"\x00'
VOID = {"meta", "wbr"}


class Page(HTMLParser):
    """Checks that elements close in order, and gathers text, tags and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th", "li", "p", "span", "h1", "h2", "h3", "figcaption"):
            self.texts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts = self.texts or [""]
            self.texts[-1] += data


@pytest.fixture
def artifact(trained, tmp_path):
    """The Ascend export of the network with five kinds of layer."""
    frozen, record = trained
    return export_ascend(frozen, ["logits"], record, tmp_path / "model")


@pytest.fixture
def written(artifact, image, tmp_path):
    """The artifact, its verification, the page's text and its data."""
    feeds = {"image": image}
    verification = verify(artifact, feeds, labels=np.arange(4), layers=True)
    page, data = write_report(
        tmp_path / "report.html", verification, artifact.source, feeds, title="Five kinds"
    )
    return artifact, verification, page.read_text(), json.loads(data.read_text())


def test_the_page_shows_every_layer_and_every_number(written):
    """Names, scales, offsets, SQNR, sizes, accuracy and differences, as text of a cell."""
    artifact, verification, html, data = written
    texts = {text.strip() for text in Page(html).texts}
    assert "Five kinds" in texts
    for name, factors in artifact.source.record.items():
        assert {name, f"{factors.scale_d:.4g}", str(factors.offset_d)} <= texts
        if factors.scale_w is not None:
            assert {f"{factors.scale_w.min():.4g}", f"{factors.scale_w.max():.4g}"} <= texts
    assert len(data["layers"]) == len(artifact.source.record) == 6
    for row in data["layers"]:
        assert f"{row['sqnr']:.1f} dB" in texts
        assert any(f"clip range {row['activation']['clip_low']:.4g}" in text for text in texts)
    (output,) = verification.outputs
    assert f"{output.simulation.largest:.3g}" in texts
    assert f"{output.accuracy.runtime:.2%}" in texts
    assert f"{data['model']['size'] / 1000:.1f} kB" in texts
    for path in artifact.paths:
        assert f"{path.stat().st_size / 1000:.1f} kB" in texts
        assert f"ascend: {path.name}" in texts


def test_the_data_holds_the_verification(written):
    """The JSON is standard and has what `Verification.to_dict` has."""
    _, verification, _, data = written
    (target,) = data["targets"]
    assert target.pop("label") == "ascend"
    assert target == json.loads(verification.to_json())


def test_the_page_refers_to_nothing(written):
    """No address of any kind, no source, no link, no import: it opens from the disk."""
    _, _, html, _ = written
    page = Page(html)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch|XMLHttp", html)
    names = {name for _, name, _ in page.attributes}
    assert not names & {"src", "href", "srcset", "action", "onclick", "onload", "style"}
    assert not set(page.tags) & {"link", "img", "iframe", "object", "base", "form"}
    assert (page.tags.count("script"), page.tags.count("style")) == (1, 1)


@pytest.fixture
def bare(trained):
    """The frozen graph with Identity in the place of each rounding."""
    frozen, _ = trained
    bare = tf.compat.v1.GraphDef.FromString(frozen.SerializeToString())
    for node in bare.node:
        if node.op in ("FakeQuantWithMinMaxVars", "Round"):
            source = node.input[0]
            node.ClearField("attr")
            node.op, node.input[:] = "Identity", [source]
            node.attr["T"].type = tf.float32.as_datatype_enum
    return bare


def test_files_are_compared_with_the_float_model_without_quantisers(written, trained, bare):
    """Its size is that of its weights and ops, not that of the fake quantisers beside them."""
    frozen, _ = trained
    weights = sum(len(node.attr["value"].tensor.tensor_content) for node in bare.node)
    without = tf.compat.v1.graph_util.extract_sub_graph(bare, ["logits"])
    found = written[3]["model"]["size"]
    assert weights < found < without.ByteSize() < frozen.ByteSize()


def test_quantisation_noise_is_that_of_the_layers_beside_the_float_model(
    written, run, image, trained, bare
):
    """The SQNR of the last layer, from the two graphs run by TensorFlow alone."""
    frozen, _ = trained
    (wanted,) = run(bare, ["logits"], {"image:0": image})
    (found,) = run(frozen, ["logits"], {"image:0": image})
    noise = 10 * np.log10(np.square(wanted).sum() / np.square(found - wanted).sum())
    last = written[3]["layers"][-1]
    assert last["name"] == "head/MatMul"
    assert last["sqnr"] == pytest.approx(noise, abs=0.5)


def test_histograms_count_what_goes_into_the_fake_quantisers(written, image):
    """Counts, extremes and the clipped share of the first layer are those of the images."""
    first = written[3]["layers"][0]
    assert first["name"] == "conv/Conv2D"
    found = first["activation"]
    assert sum(found["counts"]) == image.size
    assert (found["smallest"], found["largest"]) == (image.min(), image.max())
    scale, offset = first["scale_d"], first["offset_d"]
    assert found["clip_low"] == pytest.approx((-128 - offset) * scale)
    assert found["clip_high"] == pytest.approx((127 - offset) * scale)
    outside = (image < found["clip_low"] - scale / 2) | (image > found["clip_high"] + scale / 2)
    assert found["clipped"] == pytest.approx(outside.mean())
    edges = np.linspace(found["low"], found["high"], len(found["counts"]) + 1)
    assert found["counts"] == np.histogram(image, edges)[0].tolist()
    codes = first["weight"]["histogram"]
    assert sum(codes["counts"]) == np.prod(first["weight"]["shape"])


def test_the_same_input_gives_the_same_bytes(written, image, tmp_path):
    """Page and data are deterministic, and the page is made of the data alone."""
    artifact, verification, html, data = written
    assert render_page(data) == html
    again = write_report(
        tmp_path / "again.html",
        [verification],
        artifact.source,
        {"image": image},
        title="Five kinds",
        batch_size=32,
    )
    assert again[0].read_text() == html
    assert again[1].read_bytes() == (tmp_path / "report.json").read_bytes()


def test_what_ties_carry_is_said(written):
    """A note of its own, which is no problem."""
    _, _, _, data = written
    (target,) = data["targets"]
    assert target["carried"] == []
    target["carried"] = ['output "logits": ties alone do it']
    texts = {text.strip() for text in Page(render_page(data)).texts}
    assert 'output "logits": ties alone do it' in texts


def test_names_and_reasons_are_escaped(written):
    """A hostile name anywhere is text: no element, no attribute, no script comes of it."""
    _, _, html, data = written
    plain = Page(html)
    text = json.dumps(data)
    for word in ("conv/Conv2D", "ascend", "logits", "Conv2D", "model_quantized.pb", "quantise"):
        text = text.replace(f'"{word}"', json.dumps(HOSTILE))
    hostile = json.loads(text)
    hostile["title"] = HOSTILE
    hostile["plan"][0]["why"] = hostile["targets"][0]["problems"] = [HOSTILE] * 9
    hostile["plan"][0]["why"] = HOSTILE
    hostile["targets"][0]["first_divergence"] = HOSTILE
    html = render_page(hostile)
    page = Page(html)
    assert page.tags.count("script") == plain.tags.count("script")
    assert "<script>alert" not in html
    assert "\x00" not in html
    shown = HOSTILE.replace("\x00", "\ufffd")
    assert shown in {text.strip() for text in page.texts}
    assert all("alert" not in (name + tag) for tag, name, _ in page.attributes)


def test_targets_stand_side_by_side(written, image, tmp_path):
    """Two verifications, one of them broken: both columns, and where it parts is named."""
    artifact, verification, _, _ = written
    far = attrs.evolve(verification.layers[2].own, largest=99.0, largest_but_few=99.0)
    worse = attrs.evolve(verification.layers[2], own=far)
    gone = LayerExecution("pool/AvgPool", "AvgPool", None, "missing", "no such node")
    broken = attrs.evolve(
        verification,
        layers=(*verification.layers[:2], worse, *verification.layers[3:]),
        executions=(*verification.executions[:3], gone, *verification.executions[4:]),
    )
    assert broken.first_divergence().layer == "up/deconv"
    page, data = write_report(
        tmp_path / "two.html", [verification, broken], artifact.source, {"image": image}
    )
    texts = {text.strip() for text in Page(page.read_text()).texts}
    assert {"ascend", "ascend (2)", "✓ within the limits", "✗ beyond the limits"} <= texts
    assert "They part at layer up/deconv." in " ".join(texts)
    assert "5 int8, 1 missing" in texts
    assert json.loads(data.read_text())["targets"][1]["first_divergence"] == "up/deconv"


def test_a_verification_without_layers_or_labels_is_reported(artifact, image, tmp_path):
    """Then the table of runtimes has the execution alone, and there is no accuracy."""
    found = verify(artifact, {"image": image})
    page, _ = write_report(tmp_path / "short.html", found, artifact.source, {"image": image})
    texts = {text.strip() for text in Page(page.read_text()).texts}
    assert "as" in texts
    assert "own mean" not in texts
    assert not any("accuracy" in text for text in texts)


def test_nothing_is_written_after_an_error(written, image, tmp_path):
    """A folder in the place of the data, wrong feeds, a wrong name: the old page stays whole."""
    artifact, verification, html, _ = written
    source, feeds = artifact.source, {"image": image}
    with pytest.raises(RangeError):
        write_report(tmp_path / "report.html", verification, source, {"image": image[..., :2]})
    with pytest.raises(ConfigError, match=r"\.json"):
        write_report(tmp_path / "report.json", verification, source, feeds)
    with pytest.raises(ConfigError, match="verifications"):
        write_report(tmp_path / "report.html", [], source, feeds)
    assert (tmp_path / "report.html").read_text() == html
    os.mkdir(tmp_path / "other.json")
    with pytest.raises(FileWriteError, match=r"other\.json"):
        write_report(tmp_path / "other.html", verification, source, feeds)
    assert not (tmp_path / "other.html").exists()
    assert not list(Path(tmp_path).glob(".graphquant-*"))


def test_infinite_values_are_clipped_and_in_no_bin():
    """A mask of -infinity counts among what is clipped; the range is that of the finite values."""
    counting = Counting(-1.0, 1.0, 0.1)
    batches = [np.array([0.5, -np.inf, 2.0]), np.array([np.inf, -0.5])]
    for batch in batches:
        counting.see(batch)
    for batch in batches:
        counting.count(batch)
    found = counting.result()
    assert (found.smallest, found.largest) == (-0.5, 2.0)
    assert sum(found.counts) == 3
    assert found.clipped == 3 / 5
