"""The report as a file: complete, self-contained, and written even where models are gone."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import yaml
from PIL import Image

from edm2lite.config import ModelRef, Nimg, ReportConfig, TableConfig, TableRow
from edm2lite.errors import UserError
from edm2lite.evaluation.report.page import write_report
from edm2lite.evaluation.report.protocol import models
from tests.evaluation.report.conftest import METRICS, make_table

VOID = {"meta", "img", "br", "input"}


class Reader(HTMLParser):
    """Checks that elements are closed in order; collects ids, addresses and titles."""

    def __init__(self, page):
        super().__init__()
        self.open, self.ids, self.links, self.titles, self.images = [], [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [v for k, v in attrs if k in ("href", "src", "xlink:href")]
        self.images += [found] if tag == "img" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "h3":
            self.titles.append(data)


def test_everything_is_there_once_and_nothing_lies_elsewhere(page):
    read = Reader(page)
    assert not read.open and len(set(read.ids)) == len(read.ids), "well formed, and no id twice"
    assert read.titles == [
        "Results", "Each row at its best", "Confirmation on fresh seeds", "Over guidance weight", "Over EMA length",
        "EMA of main by EMA of guide", "Samples", "Training", "Protocol", "To make it again",
    ]  # fmt: skip
    inside = [link for link in read.links if link.startswith("#")]
    assert {link[1:] for link in inside} <= set(read.ids)
    assert all(link.startswith("data:") for link in read.links if link not in inside)
    assert not re.search(r"url\((?!#)|@import", page)
    assert len(page) < 1_000_000


def test_names_are_text_and_no_markup(page):
    assert "<title>T &lt; U</title>" in page and "A &amp; B" in page
    assert "guided &lt;b&gt;" in page and "guided <b>" not in page


def test_what_was_done_is_said(page):
    assert (
        "14 settings in 2 rows were scored by FID, FD-DINOv2, IS on 3 blocks of 50 images, the same seeds for all of them. "
        "The reference is digits, 1,797 images. The best without and the best with guidance were then scored again on "
        "fresh seeds."
    ) in page
    seeds = ("0 to 149, the same for every setting", "<dd>150 to 299</dd>")
    for fact in (*seeds, "tf1-bilinear-299", "67" * 32, "licence: Apache-2.0"):
        assert fact in page
    assert page.count('class="plot"') == len(METRICS) * 3 + 2, "over w, over EMA, EMA by EMA; loss and what was watched"
    assert "error bars: standard deviation over blocks of seeds" in page


def test_images_have_sizes_and_names(page):
    images = Reader(page).images
    assert len(images) == 4 + 3, "alone and three weights; main, guide, both"
    for image in images:
        picture = Image.open(io.BytesIO(base64.b64decode(image["src"].split(",")[1])))
        assert picture.size == (int(image["width"]), int(image["height"])) and image["alt"]


def test_a_report_on_models_that_are_gone_says_so_and_has_the_rest(report, tmp_path):
    page = report(make_table(tmp_path / "gone" / "main", tmp_path / "gone" / "guide"))
    read = Reader(page)
    assert "No pictures: the models of the best result cannot be loaded." in page and not read.images
    assert "not on this machine, so nothing more can be said of it" in page
    assert page.count('class="plot"') == len(METRICS) * 3 and "Gone: " in page


def test_without_seeds_no_model_is_loaded(report, monkeypatch):
    monkeypatch.setattr("edm2lite.evaluation.report.samples.load_pair", lambda *a, **k: pytest.fail("loaded a model"))
    assert "Samples" not in Reader(report(seeds=None)).titles


def test_one_block_has_jackknife_errors_and_no_confirmation(report, runs):
    page = report(make_table(*runs, blocks=1), seeds=None)
    assert "error bars: jackknife standard error of the one block" in page
    assert "Confirmation on fresh seeds" not in Reader(page).titles and "on one block of 50 images" in page


def test_the_configuration_in_the_report_makes_the_same_table_again(page, table):
    found = re.search(r'href="data:application/yaml;base64,([^"]+)" download="table.yaml"', page)
    config = yaml.safe_load(base64.b64decode(found[1]))
    assert TableConfig.from_plain(config) == TableConfig.from_plain(table.config)


def test_what_cannot_be_reported_is_refused(tmp_path):
    with pytest.raises(UserError, match="no tables were named"):
        write_report(ReportConfig())
    with pytest.raises(UserError, match="no finished table"):
        write_report(ReportConfig(tables=(str(tmp_path),)))
    with pytest.raises(UserError, match="name no seed"):
        write_report(ReportConfig(tables=(str(tmp_path),), seeds=","))
    with pytest.raises(UserError, match="device 'tpu' is not available here"):
        write_report(ReportConfig(tables=(str(tmp_path),), device="tpu"))


def test_a_table_of_another_version_is_one_clear_line(report, runs, monkeypatch):
    monkeypatch.setattr("edm2lite.evaluation.report.samples.load_pair", lambda *a, **k: pytest.fail("loaded a model"))
    table = make_table(*runs)
    older = replace(table, config=table.config | {"extract": 2})
    with pytest.raises(
        UserError, match=r"table 'A & B' is of another version .*'extract'.*run its evaluate.py table command"
    ):
        report(older)


def test_one_model_made_worse_in_several_ways_is_several_models(runs):
    refs = (
        ModelRef(path=str(runs[0])),
        ModelRef(path=str(runs[0]), dropout=0.1),
        ModelRef(path=str(runs[0]), dropout=0.05),
    )
    refs = (*refs, ModelRef(path="nvidia:edm2-img512-s", nimg=Nimg("2048Mi")))
    cfg = TableConfig(rows=tuple(TableRow(name=str(i), main=ref) for i, ref in enumerate(refs)))
    names = [str(runs[0]), f"{runs[0]}, dropout 0.1", f"{runs[0]}, dropout 0.05", "nvidia:edm2-img512-s at 2Gi"]
    assert list(models(cfg)) == names and "not on this machine" not in str(models(cfg)[names[-1]])
