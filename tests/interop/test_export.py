"""Export: what is in the folder, what is refused, and that nothing is left behind."""

import os

import pytest
import torch
from safetensors.torch import load_file

from edm2lite import guided, load_denoiser, sample_heun, seeded_noise
from edm2lite.cli import SNAPSHOT, main
from edm2lite.config import ModelRef
from edm2lite.errors import UserError
from edm2lite.interop.export import export
from edm2lite.interop.preflight import preflight
from tests.conftest import GOLDEN
from tests.interop.conftest import export_config, load, write_snapshot


def test_what_the_folder_holds(folder):
    files = {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}
    weights = {
        f"{name}/{file}"
        for name in ("unet", "guide")
        for file in ("config.json", "diffusion_pytorch_model.safetensors")
    }
    assert files == weights | {"model_index.json", "pipeline.py", "README.md", "scheduler/scheduler_config.json"}
    assert os.listdir(folder.parent) == ["digits"]
    umask = os.umask(0)
    os.umask(umask)
    assert {(folder / file).stat().st_mode & 0o777 for file in files} == {0o666 & ~umask}


def test_the_card_says_what_it_is(folder):
    text = (folder / "README.md").read_text()
    assert text.startswith("---\nlibrary_name: diffusers\ntags:")
    main_row, guide_row = (
        next(line for line in text.splitlines() if line.startswith(f"| {n} ")) for n in ("main", "guide")
    )
    for word in ("8 x 8 x 1", "| 3 |", "| 1Ki |", "| 0.05 |", "| digits |", "not stated"):
        assert word in main_row
    assert main_row.split("|")[-2] != guide_row.split("|")[-2], "different weights, different hashes"
    assert 'from_pretrained("digits")' in text and "weight 1.8" in text and "class_labels=" in text


def test_nvidia_files_lose_nothing_in_fp16_and_keep_their_licence(tmp_path):
    files = [GOLDEN / f"snapshot-{name}.pkl" for name in ("cond", "guide")]
    export(export_config(*files, tmp_path / "out", weight=2.0, dtype="fp16"))
    stored = load_file(tmp_path / "out" / "unet" / "diffusion_pytorch_model.safetensors")
    fixed = {name for name, tensor in stored.items() if tensor.dtype == torch.float32}
    assert {name.split(".")[-1] for name in fixed} == {"freqs", "phases"} and len(fixed) == 4
    assert {stored[name].dtype for name in stored.keys() - fixed} == {torch.float16}
    card = (tmp_path / "out" / "README.md").read_text()
    assert "\nlicense: cc-by-nc-sa-4.0\n" in card and "- guide: CC BY-NC-SA 4.0 (NVIDIA)" in card
    noise, labels = seeded_noise([0, 1], (3, 16, 16), 10)
    expected = sample_heun(guided(*map(load_denoiser, files), 2.0), noise, labels=labels, num_steps=2)
    images = load(tmp_path / "out")(seeds=[0, 1], num_inference_steps=2, output_type="latent").images
    assert torch.equal(images, expected)


def test_the_command(models, tmp_path, capsys):
    argv = ["export", f"--main.path={models[0]}", f"--guide.path={models[1]}", f"--dest={tmp_path / 'out'}"]
    assert main(SNAPSHOT, "edm2lite snapshot", argv) == 2
    assert "no weight; set --guidance.weight" in capsys.readouterr().err
    assert main(SNAPSHOT, "edm2lite snapshot", [*argv, "--guidance.weight=2"]) == 0
    assert "EDM2Pipeline.from_pretrained" in capsys.readouterr().out
    assert load(tmp_path / "out").weights().weight == 2
    assert main(SNAPSHOT, "edm2lite snapshot", [*argv, "--guidance.weight=2"]) == 2
    assert "not an empty folder" in capsys.readouterr().err


def test_refusals(models, tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"guidance\.weight is 2\.0 but there is no guide"):
        preflight(export_config(models[0], None, tmp_path / "out", weight=2.0))
    with pytest.raises(UserError, match=r"guide model .*nowhere does not exist"):
        preflight(export_config(models[0], tmp_path / "nowhere", tmp_path / "out", weight=2.0))
    with pytest.raises(UserError, match=r"guide\.dropout is set, but a pipeline holds models as they are"):
        config = export_config(*models, tmp_path / "out", weight=2.0)
        type(config)(**{**vars(config), "guide": ModelRef(path="x", dropout=0.1)})
    monkeypatch.setattr("edm2lite.interop.preflight.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'edm2lite\[diffusers\]'"):
        preflight(export_config(models[0], None, tmp_path / "out"))


def test_a_failure_leaves_nothing(models, tmp_path):
    other = write_snapshot(tmp_path / "other.safetensors", 3, label_dim=5)
    with pytest.raises(UserError, match="3 and 5 classes"):
        export(export_config(models[0], other, tmp_path / "out", weight=2.0))
    vae = write_snapshot(tmp_path / "vae.safetensors", 3, encoder={"name": "vae"})
    with pytest.raises(UserError, match=r"the VAE .* cannot be loaded"):
        export(export_config(vae, None, tmp_path / "out", vae=str(tmp_path / "no-vae")))
    assert sorted(os.listdir(tmp_path)) == ["other.safetensors", "vae.safetensors"]
