"""Settings of sweeps: ranges, files in configs/sweeps, and what is refused in one line."""

import pytest

from edm2lite.cli import parse
from edm2lite.commands import Command
from edm2lite.config import ClassifierConfig, GuidanceConfig, ModelRef, TableConfig
from edm2lite.config.sweeps import RangeConfig, SweepConfig, SweepPoint
from edm2lite.errors import UserError
from edm2lite.evaluation.sweeps.space import guided_space
from tests.conftest import ROOT
from tests.evaluation.sweeps.bowl import sweep_config

SWEEP = Command(SweepConfig, lambda cfg: None, "")
GUIDED = {"main": ModelRef(path="m"), "guide": ModelRef(path="g"), "weights": (2.0,)}


def test_a_range_is_read_from_yaml_beside_lists(tmp_path):
    (tmp_path / "x.yaml").write_text(
        "main: {path: m}\nguide: {path: g}\nmain_ema: {low: 0.01, high: 0.25, step: 0.005}\nguide_ema: [null, 0.1]\n"
        "guide_nimg: [64Mi, 128Mi]\nweights: {low: 1.05, high: 3.5, step: 0.05}\nsearch: local\n"
        "starts: [{main_ema: 0.05, guide_ema: 0.1, guide_nimg: 64Mi, weight: 1.5}]\n"
    )
    cfg = parse("sweep", SWEEP, ["-c", str(tmp_path / "x.yaml")])
    assert guided_space(cfg).shape == (49, 2, 2, 50)
    assert cfg.axes["main_ema"][:3] == (0.01, 0.015, 0.02) and cfg.axes["weights"][-1] == 3.5
    assert cfg.starts[0] in guided_space(cfg).points
    assert isinstance(cfg.table(), TableConfig) and [row.name for row in cfg.table().rows] == ["main alone", "sweep"]


def test_files_are_read(monkeypatch):
    found = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))
    assert len(found) >= 2
    for path in found:
        cfg = parse("sweep", SWEEP, ["-c", str(path)])
        assert cfg.outdir.startswith("runs/") and cfg.confirm and guided_space(cfg).size >= 64


def test_what_varies_may_be_something_else_than_the_weight():
    guidance = GuidanceConfig(classifier=ClassifierConfig(path="c"))
    cfg = SweepConfig(main=ModelRef(path="m"), guidance=guidance, vary="classifier", weights=(0.5, 1.0))
    assert cfg.table().rows[-1].guided_by(0.5).classifier.scale == 0.5


BAD = {
    "unknown search": ({"search": "annealing"}, "choose one of: grid, random, tpe, local"),
    "no rungs": ({"rungs": ()}, "rungs is .* ascending"),
    "rungs that fall": ({"rungs": (500, 200)}, r"rungs is \[500, 200\]; it must be ascending"),
    "one image": ({"rungs": (1, 200)}, "at least 2"),
    "none promoted": ({"promote": 0.0}, r"promote is 0.0; it must be in \(0, 1\]"),
    "no finalist": ({"finalists": 0}, "finalists is 0; it must be positive"),
    "no blocks": ({"blocks": 0}, "blocks"),
    "no budget": ({"search": "tpe"}, "trials is None; it must be given with search tpe, at most the 60 points"),
    "budget beyond the space": ({"search": "random", "trials": 61}, "trials is 61"),
    "budget of a grid": ({"trials": 5}, "left out with search grid"),
    "confirmed on the search's seeds": (
        {"confirm_seed": 4799},
        "confirm_seed is 4799; .* none of the search's, 0 to 4799",
    ),
    "start off the grid": ({"search": "local", "starts": (SweepPoint(weight=9.0),)}, "of a start is"),
    "starts of a grid": ({"starts": (SweepPoint(),)}, "starts is given, but search is grid"),
    "w = 1": ({"weights": (1.0, 2.0)}, "where there is no guidance"),
    "no weights": ({"weights": ()}, "weights is"),
    "a weight twice": ({"weights": (2.0, 2.0)}, "values that differ"),
    "no such EMA length": ({"guide_ema": (0.1, 0.4)}, "sigma_rel in"),
    "no guide": ({"guide": ModelRef()}, "guide.path is None; it must be a model, as there is guide_ema"),
    "EMA length twice": ({"main": ModelRef(path="m", ema=0.1)}, "given as main_ema"),
    "no processes": ({"devices": 0}, "devices is 0"),
}


@pytest.mark.parametrize("changes, message", BAD.values(), ids=BAD)
def test_what_makes_no_sense_is_refused_in_one_line(tmp_path, changes, message):
    with pytest.raises(UserError, match=message) as refused:
        sweep_config(tmp_path, **changes)
    assert "\n" not in str(refused.value)


def test_ranges_must_be_whole_steps_upwards():
    for bad in ((0.1, 0.2, 0.03), (0.2, 0.1, 0.05), (0.1, 0.2, 0.0)):
        with pytest.raises(UserError, match="range"):
            RangeConfig(low=bad[0], high=bad[1], step=bad[2])
    assert RangeConfig(low=1.5, high=1.5, step=0.1).values == (1.5,)
    with pytest.raises(UserError, match="nothing guides in this sweep"):
        SweepConfig(main=ModelRef(path="m"), weights=(1.0,))
