"""Numbers of images, seeds, and every configuration file."""

from pathlib import Path

import pytest
import yaml

from edm2lite.cli import EVALUATE, SAMPLE, TOY2D, TRAIN, build_parser
from edm2lite.config import Nimg, SampleConfig, SamplerConfig, TrainingConfig, parse_seeds
from edm2lite.errors import UserError
from tests.conftest import ROOT

CONFIGS = sorted(path.relative_to(ROOT) for path in (ROOT / "configs").rglob("*.yaml"))
MADE_BY = {"digits-methods": "methods", "laboratory-digits": "laboratory", "laboratory-patches": "laboratory"}
KINDS = {
    "tables": EVALUATE["table"],
    "sweeps": EVALUATE["sweep"],
    "demo": EVALUATE["report"],
    "pairs": SAMPLE["sample"],
    "toy2d": TOY2D["train"],
    "toy2d/methods.yaml": TOY2D["measure"],
}


@pytest.mark.parametrize(
    ("text", "value"), [("128Mi", 2**27), ("1Gi", 2**30), ("75Ki", 76800), ("12345", 12345), ("10_000", 10000), (7, 7)]
)
def test_nimg_reads(text, value):
    assert Nimg(text) == value
    assert Nimg(str(Nimg(text))) == value


def test_nimg_prints_the_largest_whole_suffix():
    assert [str(Nimg(n)) for n in (2**27, 2**30, 1536, 1000, 0)] == ["128Mi", "1Gi", "1536", "1000", "0"]
    assert str(Nimg(150 * 1024)) == "150Ki"


@pytest.mark.parametrize("text", ["", "12M", "1.5Mi", "-3", "Mi", "1e6"])
def test_nimg_refuses(text):
    with pytest.raises(UserError, match="not a number of images"):
        Nimg(text)


def test_seeds():
    assert parse_seeds("0-4") == [0, 1, 2, 3, 4]
    assert parse_seeds("7, 3,10-12") == [7, 3, 10, 11, 12]
    for text, message in [
        ("", "name no seed"),
        ("5-3", "name no seed"),
        ("1,1", "twice"),
        ("0-9,5", "twice"),
        ("a", "cannot"),
    ]:
        with pytest.raises(UserError, match=message):
            parse_seeds(text)


@pytest.mark.parametrize(
    "bad",
    [
        {"total_nimg": Nimg(100)},
        {"precision": "fp8"},
        {"ema_sigma_rel": (0.5,)},
        {"ema_sigma_rel": ()},
        {"batch_size": 0},
    ],
)
def test_impossible_training_settings_are_refused(bad):
    with pytest.raises(UserError, match=f"training.{next(iter(bad))}"):
        TrainingConfig(**bad)


def test_impossible_sampling_settings_are_refused():
    with pytest.raises(UserError, match="batch_size"):
        SampleConfig(batch_size=0)
    with pytest.raises(UserError, match=r"sampler.v is 0.5 but sampler.solver heun takes none"):
        SamplerConfig(v=0.5)


@pytest.mark.parametrize("path", CONFIGS, ids=str)
def test_every_config_parses_and_has_a_header(path):
    command = KINDS.get("/".join(path.parts[1:])) or KINDS.get(path.parts[1], TRAIN["train"])
    parser = build_parser("test", command)
    namespace = parser.parse_args(["-c", str(ROOT / path)])
    namespace.pop("config", None)
    command.config(**vars(parser.instantiate(namespace)))
    text = (ROOT / path).read_text()
    header = [line for line in text.splitlines() if line.startswith("#")]
    command_line = "--preset " + path.stem if path.parts[1] == "pairs" else str(path)
    if path.stem in MADE_BY:
        command_line = f"make {MADE_BY[path.stem]}"
    assert any("Command:" in line and command_line in line for line in header)
    assert any("Hardware:" in line for line in header)
    assert isinstance(yaml.safe_load(text), dict) and isinstance(path, Path)
