"""The published pairs, configs/pairs/, against the papers' tables (arXiv 2312.02696 and 2406.02507); end to end, offline."""

import json
import shutil
from functools import cache

import pytest

from edm2lite import cli
from edm2lite.config import SampleConfig, all_guides, parse_seeds
from edm2lite.errors import UserError
from edm2lite.snapshots import download
from edm2lite.snapshots.published import MODELS, file_name
from tests.conftest import GOLDEN, ROOT
from tests.data.vae import tiny_vae

Mi = 2**20
# Million training images, as printed
LENGTHS_512 = {"xs": 2147.5, "s": 2147.5, "m": 2147.5, "l": 1879.0, "xl": 1342.2, "xxl": 939.5}
LENGTHS_64 = {"s": 1073.7, "m": 2147.5, "l": 1073.7, "xl": 671.1}
# EDM2's Tables 2 and 5: FID, EMA; FID with CFG, EMA, w; the same of FD-DINOv2
EDM2_512 = {
    "xs": ((3.53, 0.135), (2.91, 0.045, 1.4), (103.39, 0.200), (79.94, 0.150, 1.7)),
    "s": ((2.56, 0.130), (2.23, 0.025, 1.4), (68.64, 0.190), (52.32, 0.085, 1.9)),
    "m": ((2.25, 0.100), (2.01, 0.030, 1.2), (58.44, 0.155), (41.98, 0.015, 2.0)),
    "l": ((2.06, 0.085), (1.88, 0.015, 1.2), (52.25, 0.155), (38.20, 0.035, 1.7)),
    "xl": ((1.96, 0.085), (1.85, 0.020, 1.2), (45.96, 0.155), (35.67, 0.030, 1.7)),
    "xxl": ((1.91, 0.070), (1.81, 0.015, 1.2), (42.84, 0.150), (33.09, 0.015, 1.7)),
}
# EDM2's Table 3: FID, EMA
EDM2_64 = {"s": (1.58, 0.075), "m": (1.43, 0.060), "l": (1.33, 0.040), "xl": (1.33, 0.040)}
# Autoguidance's Table 1: (FID, w, EMA_m, EMA_g), the same of FD-DINOv2; guide, its T as a fraction of 1
AUTOGUIDANCE = {
    "edm2-img512-s-autog": ((1.34, 2.10, 0.070, 0.125), (36.67, 2.45, 0.120, 0.165), "xs", 16),
    "edm2-img512-s-autog-same-ema": ((1.53, 1.95, 0.050, 0.050), (40.81, 2.25, 0.115, 0.115), "xs", 16),
    "edm2-img512-s-autog-training-only": ((1.51, 2.20, 0.090, 0.130), (42.27, 2.55, 0.130, 0.170), "s", 16),
    "edm2-img512-s-autog-capacity-only": ((2.13, 1.80, 0.120, 0.160), (59.89, 1.90, 0.140, 0.085), "xs", 1),
    "edm2-img512-xxl-autog": ((1.25, 2.05, 0.075, 0.155), (24.18, 2.30, 0.130, 0.205), "m", 3.5),
    "edm2-img512-s-uncond-autog": ((3.86, 2.85, 0.070, 0.110), (90.39, 2.90, 0.090, 0.125), "xs-uncond", 16),
    "edm2-img64-s-autog": ((1.01, 1.70, 0.045, 0.110), (31.85, 2.20, 0.105, 0.175), "xs", 8),
}
# The interval rows of the same table, and the intervals of arXiv 2404.07724
INTERVAL = {
    "edm2-img512-s-interval-fid": (1.68, 2.10, 0.025, (0.28, 2.90)),
    "edm2-img512-s-interval-dino": (46.25, 3.20, 0.085, (0.60, 5.00)),
    "edm2-img512-xxl-interval-fid": (1.40, 2.00, 0.015, (0.19, 1.61)),
    "edm2-img512-xxl-interval-dino": (29.16, 2.90, 0.015, (0.60, 5.00)),
}


def table() -> dict[str, tuple]:
    """Preset -> metric, guide (or None), its fraction of the main's training or its nimg, w, EMA_m, EMA_g, interval."""
    rows = {}
    for size, (fid, fid_cfg, dino, dino_cfg) in EDM2_512.items():
        for metric, (value, ema), (value_cfg, ema_cfg, w) in (("fid", fid, fid_cfg), ("dino", dino, dino_cfg)):
            name = f"edm2-img512-{size}"
            rows[f"{name}-{metric}"] = (value, None, None, None, ema, None, None)
            rows[f"{name}-guid-{metric}"] = (value_cfg, "xs-uncond", 2048 * Mi, w, ema_cfg, ema_cfg, None)
    for size, (value, ema) in EDM2_64.items():
        rows[f"edm2-img64-{size}-fid"] = (value, None, None, None, ema, None, None)
    rows["edm2-img64-s-dino"] = (58.52, None, None, None, 0.160, None, None)
    rows["edm2-img64-s-guid-fid"] = (1.48, "xs-uncond", 2048 * Mi, 1.15, 0.030, 0.030, None)
    rows["edm2-img64-s-guid-dino"] = (41.84, "xs-uncond", 2048 * Mi, 1.85, 0.040, 0.040, None)
    rows["edm2-img512-s-uncond-fid"] = (11.67, None, None, None, 0.145, None, None)
    rows["edm2-img512-s-uncond-dino"] = (209.53, None, None, None, 0.170, None, None)
    for name, (*metrics, guide, fraction) in AUTOGUIDANCE.items():
        for metric, (value, w, main, its) in zip(("fid", "dino"), metrics, strict=True):
            rows[f"{name}-{metric}"] = (value, guide, fraction, w, main, its, None)
    for name, (value, w, ema, interval) in INTERVAL.items():
        rows[name] = (value, "xs-uncond", 2048 * Mi, w, ema, ema, interval)
    rows["edm2-img512-s-autog-dropout-fid"] = (2.55, "s", 1, 2.25, 0.130, 0.130, None)
    rows["edm2-img512-s-autog-noise-fid"] = (2.56, "s", 1, 2.00, 0.130, 0.130, None)
    return rows


TABLE = table()


@cache
def preset(name: str) -> SampleConfig:
    return cli.parse("sample.py", cli.SAMPLE["sample"], ["--preset", name])


def header(name: str) -> str:
    lines = (ROOT / f"configs/pairs/{name}.yaml").read_text().splitlines()
    return "\n".join(line for line in lines if line.startswith("#"))


def model_of(name: str) -> tuple[str, str]:
    """Prefix and size of the main model: edm2-img512, s-uncond."""
    _, images, size, *rest = name.split("-")
    return f"edm2-{images}", f"{size}-uncond" if rest[0] == "uncond" else size


def test_there_is_a_preset_for_every_row():
    assert set(cli.pairs()) == set(TABLE) and len(TABLE) == 53


@pytest.mark.parametrize("name", TABLE)
def test_models_weights_and_lengths_are_the_published_ones(name):
    _, guide, training, w, ema_main, ema_guide, interval = TABLE[name]
    cfg, (prefix, size) = preset(name), model_of(name)
    lengths = LENGTHS_512 if prefix == "edm2-img512" else LENGTHS_64
    assert (cfg.main.path, cfg.main.ema) == (f"nvidia:{prefix}-{size}", ema_main)
    assert round(cfg.main.nimg / 1e6, 1) == lengths[size.removesuffix("-uncond")] and cfg.main.nimg % (128 * Mi) == 0
    assert (cfg.guidance.weight, cfg.guidance.interval) == (w, interval)
    if guide is None:
        assert all_guides(cfg.guide, cfg.guidance) == ()
    else:
        assert (cfg.guide.path, cfg.guide.ema) == (f"nvidia:{prefix}-{guide}", ema_guide)
        assert cfg.guide.nimg == (training if training > 16 else cfg.main.nimg / training)
    for ref in (cfg.main, cfg.guide):
        if ref.path is not None:
            assert ref.path.removeprefix("nvidia:") in MODELS


def test_the_synthetic_degradations_are_those_of_the_paper():
    for kind, option, main, guide in (("dropout", "dropout", 0.05, 0.1), ("noise", "input_noise", 0.1, 0.2)):
        cfg = preset(f"edm2-img512-s-autog-{kind}-fid")
        assert (cfg.main.degradations, cfg.guide.degradations) == ({option: main}, {option: guide})
    others = [preset(name) for name in TABLE if name.rsplit("-", 2)[-2] not in ("dropout", "noise")]
    assert len(others) == 51 and not any(cfg.main.degradations or cfg.guide.degradations for cfg in others)


@pytest.mark.parametrize("name", TABLE)
def test_all_else_is_the_papers_protocol(name):
    cfg = preset(name)
    assert cfg.preset == name and parse_seeds(cfg.seeds) == list(range(50_000)) and cfg.outdir == f"out/{name}"
    s = cfg.sampler
    assert (s.solver, s.num_steps, s.sigma_min, s.sigma_max, s.rho, s.S_churn) == ("heun", 32, 0.002, 80, 7, 0)
    assert (cfg.labels, cfg.label, cfg.precision) == ("uniform", None, "fp32")


@pytest.mark.parametrize("name", TABLE)
def test_the_header_says_what_is_expected_of_which_files(name):
    text, metric = header(name), "FID" if name.endswith("-fid") else "FD-DINOv2"
    assert f": best {metric}.\n" in text and f"# Expected:  {metric} {TABLE[name][0]:.2f} (arXiv " in text
    assert f"python sample.py --preset {name} --models FOLDER --outdir OUT" in text
    assert "licence: CC BY-NC-SA 4.0 (NVIDIA)" in text and "not measured here" in text
    for ref in (preset(name).main, preset(name).guide):
        if ref.path is not None:
            model = ref.path.removeprefix("nvidia:")
            unsure = (
                "not known to be published as a reconstruction;\n#              from raw snapshots: edm2lite snapshot"
            )
            file = file_name(model, ref.nimg, ref.ema)
            assert f"{file}: published as a reconstruction" in text or f"{file}: {unsure}" in text


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory):
    """A folder of NVIDIA's files for all presets, in which the golden snapshots stand in: same layout, tiny networks."""
    folder = tmp_path_factory.mktemp("models")
    for name in TABLE:
        for ref, golden in ((preset(name).main, "cond"), (preset(name).guide, "guide")):
            if ref.path is not None:
                model = ref.path.removeprefix("nvidia:")
                latent = model.startswith("edm2-img512")
                shutil.copy(
                    GOLDEN / f"snapshot-{'uncond' if latent else golden}.pkl",
                    folder / file_name(model, ref.nimg, ref.ema),
                )
    return folder


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    """`tiny_vae` in a folder."""
    folder = tmp_path_factory.mktemp("vae")
    tiny_vae().save_pretrained(folder)
    return folder


@pytest.fixture
def offline(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("no download is needed")

    monkeypatch.setattr(download, "urlopen", refuse)


STEPS = 6  # of which some lie in each of the intervals


# One of each kind; the others take a minute in all
QUICK = [
    f"edm2-img512-{kind}"
    for kind in ("m-dino", "xl-guid-fid", "s-interval-fid", "xxl-autog-dino", "s-uncond-autog-fid")
]
QUICK += ["edm2-img512-s-autog-dropout-fid", "edm2-img512-s-autog-noise-fid", "edm2-img64-l-fid"]


def sample(outdir, capsys, *options):
    """Two images; returns the manifest."""
    few = ["--device=cpu", "--seeds=0,1", f"--sampler.num_steps={STEPS}", "--batch_size=2", f"--outdir={outdir}"]
    status = cli.main(cli.SAMPLE, "sample.py", [*map(str, options), *few])
    assert status == 0, capsys.readouterr().err
    return json.loads((outdir / "manifest.json").read_text())


@pytest.mark.filterwarnings("ignore")  # of diffusers
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in TABLE]
)
def test_every_preset_samples_from_stand_ins_offline(name, stand_ins, vae, offline, tmp_path, capsys):
    manifest = sample(tmp_path / "out", capsys, "--preset", name, "--models", stand_ins, "--vae", vae)
    cfg = preset(name)
    assert manifest["num_images"] == 2 and len(set(manifest["images_sha256"].values())) == 2
    for part, ref in (("main", cfg.main), ("guide", cfg.guide)):
        if ref.path is not None:
            said = manifest[part]
            assert (said["nimg"], said["ema"], said["degradations"]) == (int(ref.nimg), ref.ema, ref.degradations)
            assert said["file"]["file"].startswith(str(stand_ins)) and "NVIDIA" in said["licence"]
    if cfg.guide.path is not None:
        evaluations = manifest["network_evaluations"]
        assert manifest["guide"]["weight"] == cfg.guidance.weight and evaluations["main"] == 2 * STEPS - 1
        throughout = evaluations["guide"] == evaluations["main"]
        assert evaluations["guide"] > 0 and throughout == (cfg.guidance.interval is None)


def test_a_preset_is_what_it_spells_out(stand_ins, offline, tmp_path, capsys):
    by_name = sample(tmp_path / "a", capsys, "--preset=edm2-img64-s-autog-fid", "--models", stand_ins)
    spelt_out = sample(
        tmp_path / "b", capsys, f"--main.path={GOLDEN}/snapshot-cond.pkl", f"--guide.path={GOLDEN}/snapshot-guide.pkl",
        "--guidance.weight=1.7",
    )  # fmt: skip
    assert by_name["images_sha256"] == spelt_out["images_sha256"]


def test_other_options_override_a_preset_wherever_they_stand(tmp_path, monkeypatch):
    def parse(*argv):
        return cli.parse("sample.py", cli.SAMPLE["sample"], argv)

    (tmp_path / "mine.yaml").write_text("guidance: {weight: 1.5}\nseeds: 0-9\n")
    (tmp_path / "preset.yaml").write_text("preset: edm2-img64-s-fid\nmain: {path: here}\n")
    before = parse("--guidance.weight=3", "--main.ema", "0.1", "--preset", "edm2-img512-s-autog-fid")
    after = parse("--preset=edm2-img512-s-autog-fid", "-c", str(tmp_path / "mine.yaml"))
    assert (before.guidance.weight, before.main.ema, before.main.path) == (3, 0.1, "nvidia:edm2-img512-s")
    assert (after.guidance.weight, after.main.ema, after.seeds) == (1.5, 0.070, "0-9")
    for argv, message in [
        (["--preset", "edm2-img512-s-autg-fid"], "unknown preset .* choose one of: edm2-img512-s-autog-fid, "),
        (["--preset", "best"], "choose one of: edm2-img512-l-dino, .*edm2-img64-xl-fid$"),
        (["--preset=edm2-img64-s-fid", "--preset=edm2-img64-m-fid"], "two presets"),
        (["--preset"], "expected one argument"),
        (["-c", str(tmp_path / "preset.yaml")], "name it on the command line: --preset edm2-img64-s-fid"),
    ]:
        with pytest.raises(UserError, match=message):
            parse(*argv)


def test_presets_are_found_from_anywhere_beside_those_that_lie_here(tmp_path, monkeypatch):
    (tmp_path / "configs" / "pairs").mkdir(parents=True)
    (tmp_path / "configs" / "pairs" / "mine.yaml").write_text("main: {path: here}\n")
    monkeypatch.chdir(tmp_path)
    assert set(cli.pairs()) == {*TABLE, "mine"}
    for name, path in (("mine", "here"), ("edm2-img64-s-fid", "nvidia:edm2-img64-s")):
        assert cli.parse("sample.py", cli.SAMPLE["sample"], ["--preset", name]).main.path == path
