"""The table of ways of guiding is that of direct computations, survives a kill, and flatters nobody."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edm2lite.config import ModelRef, NetworkConfig, Nimg, SamplerConfig, TableConfig, Toy2dMeasureConfig
from edm2lite.config.cells import cells
from edm2lite.config.claims import ClaimConfig, ComparisonConfig
from edm2lite.config.guidance import ClassifierConfig, GuidanceConfig, GuideConfig, ScheduleConfig
from edm2lite.config.rows import TableRow
from edm2lite.config.toy2d import TRUTH
from edm2lite.errors import UserError
from edm2lite.evaluation.score import Score
from edm2lite.evaluation.tables.ledger import Ledger
from edm2lite.evaluation.tables.result import Result
from edm2lite.files import digest
from edm2lite.network.energy import Energy
from edm2lite.sampling.seeded import SeededStreams
from edm2lite.snapshots.files import SnapshotInfo, save_snapshot
from edm2lite.snapshots.index import snapshot_name
from edm2lite.toy2d.closest import DISTANCES, _best, _cross_fitted
from edm2lite.toy2d.jobs import Job, forget_weights
from edm2lite.toy2d.measure import measure
from edm2lite.toy2d.points import Guided2d
from edm2lite.toy2d.truth import ground_truth
from edm2lite.toy2d.work import measure_all
from edm2lite.toy2d.yardstick import METRICS, Yardstick

POINTS, SAMPLER = 150, SamplerConfig(num_steps=6, sigma_min=0.002, sigma_max=5.0)
SAME = ComparisonConfig(row="itself", relation="same", than="none", margin=1e-9)
FEWER = ComparisonConfig(row="none", relation="lower", than=TRUTH, metric="outliers")


def save_energy(folder: Path, seed: int) -> str:
    """A run directory with a snapshot of a small energy."""
    torch.manual_seed(seed)
    net = Energy(1, 2, 0, NetworkConfig(model_channels=8))
    net.gain.data.fill_(0.1)
    info = SnapshotInfo(
        img_resolution=1, img_channels=2, label_dim=0, network=net.network, kind="energy", nimg=Nimg("1Ki"), sigma_rel=0.1
    )  # fmt: skip
    save_snapshot(folder / "snapshots" / snapshot_name(1024, 0.1), dict(net.state_dict()), info)
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("models")
    return save_energy(folder / "main", 0), save_energy(folder / "guide", 1)


def config(models, outdir: Path, **changes) -> Toy2dMeasureConfig:
    main, guide = models
    rows = (
        TableRow(name="none"),
        TableRow(name="guided", guide=ModelRef(path=guide), weights=(1.5, 2.0)),
        TableRow(name="itself", guide=ModelRef(path=main), weights=(3.0,)),
        TableRow(name="scaled", vary="truncation", weights=(1.2, 1.4)),
        TableRow(name="exact", main=ModelRef(path="exact:A")),
    )
    claims = (ClaimConfig(says="Itself is nothing.", checks=(SAME,)), ClaimConfig(says="Clean.", checks=(FEWER,)))
    given = {"rows": rows, "claims": claims, "main": ModelRef(path=main), "sampler": SAMPLER, "num_points": POINTS}
    return Toy2dMeasureConfig(outdir=str(outdir), **{**given, "blocks": 2, "workers": 1, **changes})


@pytest.fixture(scope="module")
def measured(models, tmp_path_factory) -> Toy2dMeasureConfig:
    cfg = config(models, tmp_path_factory.mktemp("measured"))
    measure(cfg)
    return cfg


def data_of(cfg: Toy2dMeasureConfig) -> dict:
    return json.loads((Path(cfg.outdir) / "table.json").read_text())


def values_of(data: dict, row: str, weight: float, metric: str) -> list[float]:
    (found,) = (s for s in data["settings"] if (s["row"], s["weight"]) == (row, weight))
    return found["metrics"][metric]["values"]


def test_the_numbers_are_those_of_a_direct_computation(measured, models):
    """Every setting with its own models and weight, every block with its own seeds, true points first."""
    data, yardstick, main = data_of(measured), Yardstick("A"), ModelRef(path=models[0])
    guide = GuideConfig(path=models[1], weight=2.0)
    for row, weight, pair in (
        ("none", 1.0, Guided2d(main, (), None, SAMPLER)),
        ("guided", 2.0, Guided2d(main, (guide,), None, SAMPLER)),
        ("exact", 1.0, Guided2d(ModelRef(path="exact:A"), (), None, SAMPLER)),
    ):
        expected = yardstick.measure(pair(range(POINTS, 2 * POINTS)))
        assert {m: values_of(data, row, weight, m)[1] for m in METRICS} == pytest.approx(expected, nan_ok=True)
    true = ground_truth("A").sample(POINTS, yardstick.sigma, torch.Generator().manual_seed(POINTS))
    assert values_of(data, TRUTH, 1.0, "logp")[1] == pytest.approx(yardstick.measure(true)["logp"])
    assert [s["row"] for s in data["settings"]] == [
        TRUTH,
        "none",
        "guided",
        "guided",
        "itself",
        "scaled",
        "scaled",
        "exact",
    ]


def test_table_files_agree_and_claims_are_judged(measured):
    outdir, data = Path(measured.outdir), data_of(measured)
    with open(outdir / "table.csv") as f:
        lines = {(r["row"], float(r["weight"]), r["metric"]): r["values"] for r in csv.DictReader(f)}
    for (row, weight, metric), values in lines.items():
        assert list(map(float, values.split())) == values_of(data, row, weight, metric)
    assert len(lines) == 8 * len(METRICS)
    text = (outdir / "table.md").read_text()
    mean = sum(values_of(data, "guided", 2.0, "outliers")) / 2
    (line,) = (own for own in text.split("best KL")[0].splitlines() if own.startswith("| guided") and "w = 2" in own)
    assert f" {mean:.4f} +- " in line
    assert [claim["holds"] for claim in data["claims"]] == [True, False]
    assert "- **TRUE**: Itself is nothing." in text and "- **FALSE**: Clean." in text
    assert (outdir / "curves.png").read_bytes()[1:4] == b"PNG" and (outdir / "curves.pdf").read_bytes()[:4] == b"%PDF"
    assert b"CreationDate" not in (outdir / "curves.pdf").read_bytes(), "the same curves are the same bytes"


def test_true_points_and_exact_networks_are_floors_not_winners(measured):
    text, data = (Path(measured.outdir) / "table.md").read_text(), data_of(measured)
    marked = [line for line in text.split("Claims")[0].splitlines() if "**" in line or "~ |" in line]
    assert marked and not [line for line in marked if line.startswith((f"| {TRUTH} ", "| exact "))]
    assert values_of(data, "exact", 1.0, "outliers") < values_of(data, "none", 1.0, "outliers")
    assert {found["best"]["row"] for found in data["closest"]} <= {"none", "guided", "itself", "scaled"}


def test_the_closest_setting_is_measured_again_on_seeds_that_chose_nothing(measured, models):
    for found in data_of(measured)["closest"]:
        metric, best, fresh = found["metric"], found["best"], found["fresh"]
        assert (fresh["row"], fresh["weight"], fresh["first_seed"]) == (best["row"], best["weight"], 2 * POINTS)
        pair = Guided2d(ModelRef(path=models[0]), (), None, SAMPLER)
        again = [Yardstick("A").measure(pair(range(s * POINTS, (s + 1) * POINTS)))[metric] for s in (2, 3)]
        assert found["fresh_alone"]["metrics"][metric]["values"] == pytest.approx(again)


def test_the_exact_kl_is_that_of_the_first_fresh_block(measured, models):
    """Of the main alone: E[ln N(z) - ln |det dx/dz| - ln p(x)] with the derivatives of the sampler at its own noise."""
    pair, seeds = (
        Guided2d(ModelRef(path=models[0]), (), None, SAMPLER, dtype=torch.float64),
        range(2 * POINTS, 3 * POINTS),
    )
    noise = SeededStreams(seeds).randn((2, 1, 1)).double().flatten(1)
    by_noise = torch.stack([(pair(seeds, noise + 1e-4 * e) - pair(seeds, noise)) / 1e-4 for e in torch.eye(2)], dim=2)
    logq = -noise.square().sum(1) / 2 - math.log(2 * math.pi) - by_noise.det().abs().log()
    expected = (logq - Yardstick("A").logp(pair(seeds))).mean()
    by_metric = {found["metric"]: found["exact"] for found in data_of(measured)["closest"]}
    assert by_metric["kl"]["alone"]["kl"] == pytest.approx(float(expected), rel=1e-3)
    assert not by_metric["energy"]


def test_there_is_no_exact_kl_of_a_sampler_with_noise_of_its_own(models, tmp_path, capsys):
    cfg = config(models, tmp_path, rows=(TableRow(name="none"),), claims=(), sampler=replace(SAMPLER, S_churn=10.0))
    measure(cfg)
    assert [found["exact"] for found in data_of(cfg)["closest"]] == [{}, {}, {}]
    assert f"{tmp_path}: table.md, table.csv, table.json\n" in capsys.readouterr().out, "of single weights no curves"


def test_a_choice_is_scored_on_a_block_that_did_not_make_it():
    """Each is best on one block by chance: the mean of the chosen is not better than that of all."""
    luck = {"a": (0.0, 2.0, 2.0), "b": (2.0, 0.0, 2.0), "c": (2.0, 2.0, 0.0), "d": (1.5, 1.5, 1.5)}
    results = [
        Result(
            row=row, main_ema=None, guide_ema=None, guide_nimg=None, weight=2.0,
            scores={"kl": tuple(Score(value=v, num_images=1) for v in values)},
        )
        for row, values in luck.items()
    ]  # fmt: skip
    found = _cross_fitted(results, "kl")
    assert [name.split(",")[0] for name in found["chosen"]] == ["b", "a", "a"] and found["values"] == (2.0, 2.0, 2.0)


def test_the_opponent_is_the_best_main_alone():
    """Of several EMA lengths without guidance, by each distance; none: there is no opponent."""
    results = [
        Result(
            row="none", main_ema=ema, guide_ema=None, guide_nimg=None, weight=1.0,
            scores={name: (Score(value=v, num_images=1),) for name, v in zip(DISTANCES, values, strict=True)},
        )
        for ema, values in ((0.01, (2.0, 1.0, 2.0)), (0.05, (1.0, 2.0, 1.0)), (0.1, (0.0, 0.0, 0.0)))
    ]  # fmt: skip
    assert list(_best(results, [0, 1]).values()) == [1, 0, 1] and _best(results, []) == {}


def test_killed_it_computes_what_is_missing_and_extended_what_is_new(measured, models, tmp_path):
    guided = replace(measured.rows[1], weights=(2.0,))  # of single weights nothing is drawn
    cfg = replace(measured, rows=(measured.rows[0], guided), claims=(), outdir=str(tmp_path))
    measure(cfg)
    results, first = tmp_path / "results", (tmp_path / "table.csv").read_bytes()
    made = {path: path.stat().st_mtime_ns for path in results.iterdir()}
    lost = sorted(made)[:3]
    for path in lost:
        path.unlink()
    measure(cfg)
    now = {path: path.stat().st_mtime_ns for path in results.iterdir()}
    assert now.keys() == made.keys() and {p for p in now if now[p] != made[p]} == set(lost)
    assert (tmp_path / "table.csv").read_bytes() == first
    measure(replace(cfg, rows=(*cfg.rows, replace(measured.rows[3], weights=(1.2,)))))
    new = set(results.iterdir()) - set(made)
    assert {json.loads(p.read_text())["settings"]["truncation"] for p in new} == {1.2}


def test_other_weights_behind_a_path_are_other_results(models, tmp_path):
    """A model trained again is measured again."""
    own = save_energy(tmp_path / "main", 2)
    cfg = config((own, models[1]), tmp_path / "out", rows=(TableRow(name="none"),), claims=())
    measure(cfg)
    before = values_of(data_of(cfg), "none", 1.0, "logp")
    save_energy(tmp_path / "main", 3)
    forget_weights()
    measure(cfg)
    assert values_of(data_of(cfg), "none", 1.0, "logp") != before


def test_a_model_that_is_trained_on_meanwhile_is_not_kept_under_its_old_weights(models, tmp_path):
    own = save_energy(tmp_path / "main", 2)
    cell = next(cells(config((own, models[1]), tmp_path, rows=(TableRow(name="x"),), claims=())))
    job = Job(cell=cell, classes="A", sampler=SAMPLER, first_seed=0, num_points=10)

    def trained_on(job: Job) -> dict[str, float]:
        save_energy(tmp_path / "main", 3)
        return {"logp": float(job.points().mean())}

    forget_weights()
    with pytest.raises(UserError, match="a model was trained on while it was measured"):
        measure_all([job], Ledger(tmp_path / "results"), 1, "", trained_on)
    assert not (tmp_path / "results").exists()


def test_whatever_decides_the_numbers_decides_where_they_are_kept(models):
    guide = GuideConfig(path=models[1], weight=2.0)
    cell = next(cells(config(models, Path("out"), rows=(TableRow(name="x"),), claims=())))
    job = Job(cell=replace(cell, guides=(guide,)), classes="A", sampler=SAMPLER, first_seed=0, num_points=POINTS)
    with_guide = lambda **changes: replace(job, cell=replace(job.cell, guides=(replace(guide, **changes),)))  # noqa: E731
    with_guidance = lambda **changes: replace(job, cell=replace(cell, guidance=GuidanceConfig(**changes)))  # noqa: E731
    other = [
        job, replace(job, classes="AB"), replace(job, first_seed=1), replace(job, num_points=POINTS + 1),
        replace(job, sampler=replace(SAMPLER, num_steps=7)), replace(job, cell=None), with_guide(weight=3.0),
        with_guide(path=models[0]), with_guide(sigma_scale=1.1), with_guide(input_noise=0.1), with_guide(interval=(0.1, 1.0)),
        with_guide(schedule=ScheduleConfig(shape="cosine")), with_guidance(truncation=1.1),
        with_guidance(classifier=ClassifierConfig(path="exact", scale=1.0)),
        with_guidance(classifier=ClassifierConfig(path="exact", scale=2.0)),
    ]  # fmt: skip
    assert len({digest(each.identity()) for each in other}) == len(other)
    assert replace(job, cell=replace(job.cell, row=TableRow(name="y"))).identity() == job.identity()


@pytest.mark.slow
def test_numbers_do_not_depend_on_the_number_of_workers(measured, models, tmp_path):
    measure(replace(measured, outdir=str(tmp_path), workers=2))
    assert (tmp_path / "table.csv").read_bytes() == (Path(measured.outdir) / "table.csv").read_bytes()


def test_settings_are_those_of_a_table_of_images(models):
    cfg = config(models, Path("out"))
    assert list(cells(cfg)) == list(cells(TableConfig(rows=cfg.rows, main=cfg.main, metrics=("fid",))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rows": ()}, "no rows"),
        ({"main": ModelRef()}, "row 'none' has no main model"),
        ({"main": ModelRef(path="nowhere")}, "nowhere does not exist"),
        ({"main": ModelRef(path="exact:C")}, "exact:C"),
        ({"rows": (TableRow(name=TRUTH),)}, "names of the rows"),
        ({"rows": (TableRow(name="x", published={"fid": 1.0}),)}, "published"),
        ({"panels": {"all": ("nothing",)}}, "unknown row of panel 'all' 'nothing'"),
        ({"classes": "AB"}, "leakage"),
    ],
)
def test_bad_settings_are_refused_before_any_work(models, tmp_path, changes, message):
    claims = (ClaimConfig(says="So.", checks=(replace(FEWER, metric="leakage"),)),) if "classes" in changes else ()
    with pytest.raises(UserError, match=message):
        measure(config(models, tmp_path, **{"claims": claims, **changes}))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("check", "message"),
    [
        (replace(FEWER, metric="fid"), "unknown metric of claim 'So.' 'fid'"),
        (replace(FEWER, row="nobody"), "unknown row of claim 'So.' 'nobody'"),
        (replace(FEWER, row="guided", at=7.0), "unknown weight of claim 'So.' for row 'guided' '7.0'"),
    ],
)
def test_a_claim_about_what_is_not_measured_is_refused(models, tmp_path, check, message):
    with pytest.raises(UserError, match=message):
        measure(config(models, tmp_path, claims=(ClaimConfig(says="So.", checks=(check,)),)))


def test_a_guide_that_would_never_be_used_is_refused(models, tmp_path):
    schedule = ScheduleConfig(shape="linear", over="sigma")
    row = TableRow(name="x", guide=ModelRef(path=models[1]), weights=(2.0,))
    used = replace(row.guidance, interval=(6.0, 9.0), schedule=schedule)
    with pytest.raises(UserError, match="is 1 at every noise level"):
        measure(config(models, tmp_path, claims=(), rows=(replace(row, guidance=used),)))
    assert not list(tmp_path.iterdir())


def test_a_classifier_leads_to_the_class_that_is_measured(models):
    row = TableRow(
        name="x", vary="classifier", guidance=GuidanceConfig(classifier=ClassifierConfig(path="exact")), weights=(3.0,)
    )
    cell = next(cells(config(models, Path("out"), rows=(row,), claims=())))
    for label in "AB":
        job = Job(cell=cell, classes=label, sampler=SAMPLER, first_seed=0, num_points=20)
        assert torch.equal(job.points(), Guided2d(cell.main, (), row.guided_by(3.0), SAMPLER, label)(range(20)))
