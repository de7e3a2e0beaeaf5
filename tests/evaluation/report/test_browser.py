"""The report in headless Chromium: it loads, sorts, filters, fits a phone, follows dark mode and prints."""

import re
from pathlib import Path

import pytest

from tests.evaluation.report.chromium import CHROMIUM, look, run

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")

PROBE = Path(__file__).with_name("probe.js").read_text()
WIDTHS = {"desk": 1100, "phone": 360, "plain": 800}


@pytest.fixture(scope="module")
def seen(page, tmp_path_factory):
    return look(tmp_path_factory.mktemp("seen"), page, PROBE, WIDTHS)


def test_nothing_goes_wrong(seen):
    assert seen["problems"] == {"desk": [], "phone": []}
    assert all("sandboxed" in line for line in seen["console"]), "the frame without scripts says that it has none"


def test_every_image_is_decoded(seen):
    assert len(seen["images"]) == 7
    assert all(complete and width > 0 and height > 0 and drawn > 0 for complete, width, height, drawn in seen["images"])


def test_numbers_sort_up_and_down_and_back(seen):
    before = [float(v) for v in seen["before"]]
    up, down, back = ([float(v) for v in press["values"]] for press in seen["distance"])
    assert before != sorted(before) and up == sorted(before) and down == up[::-1] and back == before
    assert [press["order"] for press in seen["distance"]] == ["ascending", "descending", "none"]
    assert min(up) < 100 < max(up), "as text they would sort otherwise"


def test_empty_cells_stay_at_the_end_and_equal_ones_in_their_order(seen):
    up, down = seen["guide"]
    assert up["values"] == ["0.05"] * 6 + ["0.1"] * 6 + ["-"] * 2
    assert down["values"] == ["0.1"] * 6 + ["0.05"] * 6 + ["-"] * 2
    assert seen["row"]["values"] == sorted(seen["row"]["values"]) and seen["sorted"] == 1


def test_rows_are_filtered_and_copied_as_csv(seen):
    assert len(seen["filtered"]) == 9 and set(seen["filtered"]) == {"guided <b>"}, "EMA main or EMA guide is 0.05"
    assert seen["status"] == "9 of 14 rows"
    lines = seen["copied"].splitlines()
    assert lines[0] == "row,EMA main,EMA guide,w,FID,min,published,difference,FD-DINOv2,min,IS" and len(lines) == 1 + 9
    assert lines[1].startswith("guided <b>,0.05,0.05,1.5,2.9,2.8,,,"), "numbers in full, empty cells empty"
    assert seen["none"] == [] and len(seen["unfiltered"]) == 14


def test_headings_are_reached_by_the_keyboard(seen):
    assert seen["focus"] == "FD-DINOv2"


def test_a_phone_shows_all_without_scrolling_the_page(seen):
    assert seen["phone"] == {"inner": 360, "scroll": 360} and seen["outside"] == []
    assert any(scrolls for scrolls, _, _ in seen["boxes"]), "long tables scroll inside their box"
    assert all(index == 0 and named for _, index, named in seen["boxes"])


def test_without_scripts_it_is_a_plain_page(seen):
    assert seen["plain"]["controls"] == 0 and seen["plain"]["rows"] == 14 and "FID" in seen["plain"]["heads"]


def test_dark_mode_and_what_is_refused(page, seen, tmp_path):
    """Also shows that the checks above can fail: a request, an error and a broken image are noticed."""
    bad = page.replace(
        "</body>",
        '<img src="http://127.0.0.1:9/x.png"><img src="data:image/png;base64,AAAA"><script>undefined.x</script></body>',
    )
    probe = (
        "const d = frames.desk; const s = d.getComputedStyle(d.document.body);"
        "const t = d.getComputedStyle(d.document.querySelector('svg.plot text'));"
        "return { problems: d.problems, colours: [s.backgroundColor, s.color], text: t.fill };"
    )
    dark = look(tmp_path, bad, probe, {"desk": 1100}, "--blink-settings=preferredColorScheme=0")
    kinds = [problem.split(":")[0] for problem in dark["problems"]]
    assert kinds.count("refused") == 1 and any("img-src" in p for p in dark["problems"])
    assert kinds.count("error") >= 2, dark["problems"]
    light, black = ([int(n) for n in re.findall(r"\d+", c)[:3]] for c in (seen["colours"][0], dark["colours"][0]))
    assert min(light) > 240 and max(black) < 40
    assert dark["text"] == dark["colours"][1], "drawings take the colour of the text"


def test_it_prints(page, tmp_path):
    (tmp_path / "r.html").write_text(page, encoding="utf-8")
    run(tmp_path, "--no-pdf-header-footer", f"--print-to-pdf={tmp_path / 'r.pdf'}", (tmp_path / "r.html").as_uri())
    pdf = (tmp_path / "r.pdf").read_bytes()
    assert pdf.startswith(b"%PDF") and 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12
