"""sample.py: bytes, resuming, manifest."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from edm2lite.config import GuidanceConfig, ModelRef, SampleConfig, SamplerConfig
from edm2lite.data.sheets import sheet
from edm2lite.errors import UserError
from edm2lite.files import create_json
from edm2lite.sampling.generate import generate
from edm2lite.sampling.images import image_path
from edm2lite.sampling.pair import load_pair
from edm2lite.sampling.write import sample
from tests.conftest import ROOT, run_script, tiny_denoiser

SAMPLER = SamplerConfig(num_steps=5)


def config(run, outdir, seeds="0-19", **changes):
    changes = {"batch_size": 8, "sampler": SAMPLER, "main": ModelRef(path=str(run))} | changes
    return SampleConfig(outdir=str(outdir), seeds=seeds, device="cpu", **changes)


def images(outdir):
    return {int(p.stem): p.read_bytes() for p in outdir.glob("*/*.png")}


@pytest.fixture(scope="module")
def all_at_once(tiny_run, tmp_path_factory):
    outdir = tmp_path_factory.mktemp("out") / "all"
    sample(config(tiny_run, outdir))
    return images(outdir)


@pytest.mark.parametrize("parts", [["0-4", "0-19"], ["13-19", "0-12"], ["19,3,7", "0-2,4-6,8-18"]])
def test_bytes_do_not_depend_on_split_resume_or_order(parts, tiny_run, all_at_once, tmp_path):
    for seeds in parts:
        sample(config(tiny_run, tmp_path / "out", seeds))
    assert images(tmp_path / "out") == all_at_once


def test_images_agree_over_batch_sizes_before_rounding():
    net = tiny_denoiser(label_dim=10)
    results = {}
    for batch_size in (1, 7, 64):
        seeds = list(range(70)) if batch_size != 7 else list(reversed(range(70)))
        batches = generate(net, seeds, shape=(1, 8, 8), label_dim=10, sampler=SAMPLER, batch_size=batch_size)
        results[batch_size] = dict(pair for b in batches for pair in zip(b.seeds, b.images, strict=True))
    for seed in range(70):
        for batch_size in (7, 64):
            torch.testing.assert_close(results[batch_size][seed], results[1][seed], rtol=0, atol=1e-4)


def test_places_of_an_image_in_a_batch_give_the_same_bits():
    net = tiny_denoiser(label_dim=10)
    seeds = list(range(64))
    run = lambda s: next(iter(generate(net, s, shape=(1, 8, 8), label_dim=10, sampler=SAMPLER, batch_size=64)))  # noqa: E731
    forward, backward = run(seeds), run(seeds[::-1])
    assert torch.equal(forward.images, backward.images.flip(0))


def test_weight_one_writes_the_mains_images(tiny_run, all_at_once, tmp_path):
    guide = {"guide": ModelRef(path=str(tiny_run), nimg=80), "guidance": GuidanceConfig(weight=1.0)}
    sample(config(tiny_run, tmp_path / "one", **guide))
    assert images(tmp_path / "one") == all_at_once
    sample(config(tiny_run, tmp_path / "two", **(guide | {"guidance": GuidanceConfig(weight=2.0)})))
    assert images(tmp_path / "two") != all_at_once


def test_manifest_says_who_made_the_images(tiny_run, tmp_path):
    out = tmp_path / "out"
    guide = ModelRef(path=str(tiny_run), nimg=80, ema=0.1)
    sample(
        config(
            tiny_run,
            out,
            "0-9",
            guide=guide,
            guidance=GuidanceConfig(weight=1.5),
            main=ModelRef(path=str(tiny_run), ema=0.07),
        )
    )
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["seeds"] == "0-9"
    assert manifest["status"] == "complete" and manifest["num_images"] == 10 == len(manifest["images_sha256"])
    assert manifest["main"]["ema"] == 0.07 and manifest["main"]["nimg"] == 320
    assert manifest["guide"]["nimg"] == 80 and manifest["weight"] == 1.5
    assert len(manifest["main"]["weights_sha256"]) == 64
    assert manifest["sampler"]["num_steps"] == 5 and manifest["versions"]["torch"] == torch.__version__.split("+")[0]
    assert np.asarray(Image.open(image_path(out, 3))).shape == (8, 8)
    assert (out / "contact_sheet.png").exists()


def test_a_folder_with_other_images_is_refused_and_kept(tiny_run, tmp_path):
    out = tmp_path / "out"
    sample(config(tiny_run, out, "0-3"))
    before = images(out)
    for changes in (
        {"sampler": SamplerConfig(num_steps=6)},
        {"label": 3},
        {"main": ModelRef(path=str(tiny_run), nimg=80)},
    ):
        with pytest.raises(UserError, match="holds images made with"):
            sample(config(tiny_run, out, "0-5", **changes))
    assert images(out) == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("do not touch")
    with pytest.raises(UserError, match="not empty"):
        sample(config(tiny_run, tmp_path / "mine"))


def test_label_and_classes(tiny_run):
    pair = load_pair(ModelRef(path=str(tiny_run)), ModelRef(), 1, "cpu")
    fixed = next(pair.sample([0, 1, 2], SAMPLER, 4, label=7))
    assert fixed.labels.tolist() == [7, 7, 7]
    with pytest.raises(UserError, match="classes 0-9"):
        next(pair.sample([0], SAMPLER, 4, label=10))


def test_killed_halfway_the_same_command_goes_on(tiny_run, tmp_path):
    command = [
        "sample.py",
        f"--main.path={tiny_run}",
        "--seeds=0-299",
        "--sampler.num_steps=8",
        "--batch_size=4",
        "--device=cpu",
    ]
    assert run_script(*command, f"--outdir={tmp_path / 'whole'}").returncode == 0
    process = subprocess.Popen([sys.executable, *command, f"--outdir={tmp_path / 'out'}"], cwd=ROOT)
    while len(images(tmp_path / "out")) < 20:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.001)
    process.kill()
    process.wait()
    held = len(images(tmp_path / "out"))
    assert 20 <= held < 300 and json.loads((tmp_path / "out" / "manifest.json").read_text())["status"] == "incomplete"
    done = run_script(*command, f"--outdir={tmp_path / 'out'}")
    assert done.returncode == 0 and f"{held} of 300 images are there already" in done.stdout
    assert images(tmp_path / "out") == images(tmp_path / "whole")


def status(outdir):
    return json.loads((outdir / "manifest.json").read_text())["status"]


def test_shards_fill_one_folder_and_the_last_completes_it(tiny_run, all_at_once, tmp_path, capsys):
    out = tmp_path / "out"
    for shard, held in (("2/3", 6), ("0/3", 13), ("2/3", 13)):
        sample(config(tiny_run, out, shard=shard))
        assert len(images(out)) == held and status(out) == "incomplete" and not (out / "contact_sheet.png").exists()
    assert "6 of 6 images are there already" in capsys.readouterr().out
    image_path(out, 3).unlink()  # shard 0 died
    sample(config(tiny_run, out, shard="1/3"))
    assert status(out) == "incomplete" and "shard 1/3 is done; other shards lack 1 images" in capsys.readouterr().out
    sample(config(tiny_run, out, shard="0/3"))
    assert images(out) == all_at_once and status(out) == "complete" and (out / "contact_sheet.png").exists()
    sample(config(tiny_run, out, "0-3", shard="7/8"))  # more shards than seeds
    assert images(out) == all_at_once and status(out) == "complete"


def test_a_late_or_larger_shard_cannot_leave_a_wrong_manifest(tiny_run, tmp_path):
    out = tmp_path / "out"
    sample(config(tiny_run, out, "0-3"))
    sample(config(tiny_run, out, "0-5", shard="0/2"))
    assert status(out) == "incomplete", "seed 5 is missing"
    sample(config(tiny_run, out, "0-5", shard="1/2"))
    assert status(out) == "complete"


def test_shards_agree_before_the_first_image(tiny_run, tmp_path):
    sample(config(tiny_run, tmp_path / "out", "0", shard="1/2"))
    with pytest.raises(UserError, match="num_steps"):
        sample(config(tiny_run, tmp_path / "out", "0", shard="0/2", sampler=SamplerConfig(num_steps=6)))
    sample(config(tiny_run, tmp_path / "out", "0", sampler=SamplerConfig(num_steps=6)))
    assert status(tmp_path / "out") == "complete"


def test_of_several_processes_one_creates_a_file(tmp_path):
    assert create_json(tmp_path / "a.json", 1) and not create_json(tmp_path / "a.json", 2)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"] and (tmp_path / "a.json").read_text() == "1\n"


def test_a_failed_start_leaves_the_folder_free(tiny_run, tmp_path):
    with pytest.raises(UserError, match="classes 0-9"):
        sample(config(tiny_run, tmp_path / "out", label=99))
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / ".manifest.json.1.tmp").touch()  # killed during the first write
    sample(config(tiny_run, tmp_path / "out", "0-3", label=9))
    (tmp_path / "out" / "notes").mkdir()
    (tmp_path / "out" / "notes" / "foo.png").touch()
    sample(config(tiny_run, tmp_path / "out", "0-5", label=9))
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["num_images"] == 6


def test_images_that_are_not_finite_are_an_error_not_black():
    batches = generate(
        lambda x, sigma, labels: x * torch.inf, [4, 5, 6], shape=(1, 8, 8), label_dim=0, sampler=SAMPLER, batch_size=2
    )
    with pytest.raises(UserError, match="images of seeds 4-5 are not finite"):
        next(batches)


def test_sheet_layout():
    grid = sheet([np.full((1, 8, 8), v, np.uint8) for v in (10, 20, 30)], columns=2, least_side=16)
    assert grid.shape == (1, 2 * 18 + 2, 2 * 18 + 2)
    assert grid[0, 3, 3] == 10 and grid[0, 3, 3 + 18] == 20 and grid[0, 3 + 18, 3] == 30 and grid[0, -3, -3] == 255
