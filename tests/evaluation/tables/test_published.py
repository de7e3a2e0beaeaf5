"""The papers' tables, configs/tables: every setting and number is that of a preset, or of the facts below."""

import re
import shutil
from dataclasses import replace
from functools import cache

import pytest
import yaml

from edm2lite import cli
from edm2lite.config import GuideConfig, ModelRef, Nimg, TableConfig
from edm2lite.config.cells import Cell, cells
from edm2lite.evaluation.tables.compute import compute_table
from edm2lite.snapshots.published import file_name, model_name
from tests.conftest import GOLDEN, ROOT

PAPERS = sorted(p.stem for p in (ROOT / "configs/tables").glob("*.yaml") if "nvidia:" in p.read_text())
METRICS = {"fid": ("fid", "FID"), "dino": ("fd_dinov2", "FD-DINOv2")}
# Not among the presets: Section 4 alone, and Figure 3 (guide, its training images in Mi): FID
DEGRADED = {"dropout": {0.05: 4.98, 0.10: 15.00}, "input_noise": {0.10: 3.96, 0.20: 9.73}}
FIGURE_3 = {("xxs", 128): 1.41, ("xs", 128): 1.34, ("s", 128): 1.51, ("xs", 64): 1.40, ("xs", 256): 1.47}
SETTINGS = {  # of every table: its settings
    "autoguidance-img512-s": 14, "autoguidance-img512-uncond": 4, "autoguidance-img512-xxl": 8, "autoguidance-img64-s": 6,
    "degradations-img512-s": 13, "edm2-img512": 24, "edm2-img64": 4, "figure3-img512-s": 15,
}  # fmt: skip


@cache
def config(name: str) -> TableConfig:
    return cli.parse("evaluate.py table", cli.EVALUATE["table"], ["-c", str(ROOT / f"configs/tables/{name}.yaml")])


def essence(main, guides) -> tuple:
    """All that two settings must share to be the same."""
    ref = lambda r: (r.path, r.nimg, r.ema, tuple(sorted(r.degradations.items())))  # noqa: E731
    return ref(main), tuple((*ref(g), g.weight, g.interval) for g in guides)


@cache
def presets() -> dict[tuple, tuple[str, float]]:
    """Name and published value of every preset, by its setting and metric."""
    found = {}
    for name in cli.pairs():
        text, (metric, title) = (ROOT / f"configs/pairs/{name}.yaml").read_text(), METRICS[name.rsplit("-", 1)[1]]
        data = yaml.safe_load(text)
        main, guide = (data.get(part) and data[part] | {"nimg": Nimg(data[part]["nimg"])} for part in ("main", "guide"))
        guidance = {name: tuple(v) if isinstance(v, list) else v for name, v in data.get("guidance", {}).items()}
        guides = (GuideConfig(**guide, **guidance),) if guide else ()
        value = re.search(rf"# Expected:  {title} ([\d.]+) ", text)
        assert value, name
        found[essence(ModelRef(**main), guides), metric] = (name, float(value[1]))
    return found


def expected(table: str, cell: Cell, metric: str) -> float:
    """What the papers print for a setting."""
    if table.startswith("figure3"):
        (guide,) = cell.guides
        return FIGURE_3[guide.path.removeprefix("nvidia:edm2-img512-"), guide.nimg // 2**20]
    if not cell.guides and cell.main.degradations:
        ((kind, value),) = cell.main.degradations.items()
        return DEGRADED[kind][value]
    return presets()[essence(cell.main, cell.guides), metric][1]


def test_there_is_a_table_of_every_kind_and_every_preset_is_in_one():
    assert {name: len(list(cells(config(name)))) for name in PAPERS} == SETTINGS
    used = {
        presets().get((essence(c.main, c.guides), m), ("",))[0]
        for name in PAPERS for c in cells(config(name)) for m in c.row.published
    }  # fmt: skip
    assert used - {""} == set(cli.pairs())


@pytest.mark.parametrize("name", PAPERS)
def test_settings_and_numbers_are_the_papers(name):
    for cell in cells(config(name)):
        if cell.row.name.startswith("mismatched"):
            assert not cell.row.published and cell.main.degradations.keys() != cell.guides[0].degradations.keys()
            continue
        ((metric, value),) = cell.row.published.items()
        assert value == expected(name, cell, metric), cell.row.name
        tuned = {"FID": "fid", "FD-DINOv2": "fd_dinov2"}.get(cell.row.name.rpartition("tuned for ")[2], "fid")
        assert metric == tuned


@pytest.mark.parametrize("name", PAPERS)
def test_every_model_is_one_that_is_published(name):
    for cell in cells(config(name)):
        for _, ref in cell.parts:
            model = model_name(ref.path)
            assert file_name(model, ref.nimg, ref.ema), "such a file can be named"
            assert model.startswith("edm2-img64" if "img64" in name else "edm2-img512")


def test_a_papers_table_is_made_of_published_files(measured, tmp_path):
    models, cfg = tmp_path / "models", config("autoguidance-img64-s")
    cfg = replace(cfg, rows=cfg.rows[4:])  # guided by XS at T/8
    models.mkdir()
    for cell in cells(cfg):
        for part, ref in cell.parts:
            golden = "cond" if part == "main" else "guide"
            name = file_name(model_name(ref.path), ref.nimg, ref.ema)
            shutil.copy(GOLDEN / f"snapshot-{golden}.pkl", models / name)
    table = compute_table(replace(cfg, models=str(models), outdir=str(tmp_path / "out"), device="cpu"))
    assert len(table.results) == 2 and len(measured) == 2 * 3
    text = (tmp_path / "out" / "table.md").read_text()
    assert "50000 images a block, 3 blocks" in text and "| published |" in text and "1.01" in text and "31.85" in text


@pytest.mark.parametrize("name", PAPERS)
def test_all_else_is_the_papers_protocol(name):
    cfg, size = config(name), 64 if "img64" in name else 512
    assert (cfg.num_images, cfg.blocks, cfg.metrics, cfg.labels) == (50_000, 3, ("fid", "fd_dinov2"), "uniform")
    assert (cfg.precision, cfg.first_seed, cfg.confirm, cfg.outdir) == ("fp16", 0, False, f"runs/tables/{name}")
    s = cfg.sampler
    assert (s.solver, s.num_steps, s.sigma_min, s.sigma_max, s.rho, s.S_churn) == ("heun", 32, 0.002, 80, 7, 0)
    assert cfg.ref == f"runs/ref-imagenet{size}.npz" and f"imagenet{size}" in cfg.ref_data.path


@pytest.mark.parametrize("name", PAPERS)
def test_the_header_says_how_on_what_and_what_to_expect(name):
    header = "\n".join(x for x in (ROOT / f"configs/tables/{name}.yaml").read_text().splitlines() if x.startswith("#"))
    assert f"evaluate.py table -c configs/tables/{name}.yaml --models FOLDER" in header
    assert f"slurm/submit_table.sh configs/tables/{name}.yaml --models FOLDER" in header
    assert "CC BY-NC-SA 4.0" in header and "# Hardware:" in header and "not measured here" in header
    assert (
        f"({SETTINGS[name]} settings, 3 times" in header
        and f"evaluate.py ref --data.path {config(name).ref_data.path}" in header
    )
