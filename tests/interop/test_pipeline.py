"""The pipeline of diffusers against our own sampling, bit for bit."""

import numpy as np
import pytest
import torch
from PIL import Image

from edm2lite import RGBEncoder, VAEEncoder, guided, load_denoiser, sample_heun, seeded_noise
from edm2lite.config import ScheduleConfig, WeightConfig
from edm2lite.errors import UserError
from edm2lite.guidance.weights import weight_function
from edm2lite.interop import EDMHeunScheduler
from edm2lite.interop.export import export
from tests.interop.conftest import CLASSES, diffusers, export_config, load, write_snapshot

SEEDS, STEPS = [3, 14, 15], 4


def latents(pipe, **kwargs):
    return pipe(**{"seeds": SEEDS, "num_inference_steps": STEPS, "output_type": "latent", **kwargs}).images


def own(models, weight, labels=None):
    """The same images by our own functions."""
    main, guide = map(load_denoiser, models)
    noise, drawn = seeded_noise(SEEDS, (1, 8, 8), CLASSES)
    return sample_heun(guided(main, guide, weight), noise, labels=drawn if labels is None else labels, num_steps=STEPS)


@pytest.mark.parametrize(("asked", "weight"), [(None, 1.8), (1, 1.0), (3.5, 3.5)])
def test_images_are_bitwise_our_own(pipe, models, asked, weight):
    assert torch.equal(latents(pipe, guidance_weight=asked), own(models, weight))


def test_weight_1_does_not_run_the_guide(pipe, models):
    pipe.guide.forward = None
    assert torch.equal(latents(pipe, guidance_weight=1), own(models, 1))


def test_generators_do_as_seeds(pipe, models):
    def generators():
        return [torch.Generator().manual_seed(seed) for seed in SEEDS]

    assert torch.equal(latents(pipe, seeds=None, generator=generators()), own(models, 1.8))
    one = latents(pipe, seeds=None, generator=torch.Generator().manual_seed(0), batch_size=2)
    assert one.shape == (2, 1, 8, 8) and not torch.equal(one[0], one[1])


def test_class_labels(pipe, models):
    labels = torch.tensor([2, 0, 1])
    expected = own(models, 1.8, labels)
    for given in (labels, [2, 0, 1], np.array([2, 0, 1])):
        assert torch.equal(latents(pipe, class_labels=given), expected)
    assert torch.equal(latents(pipe, class_labels=2), own(models, 1.8, torch.tensor([2, 2, 2])))
    assert latents(pipe, seeds=None, class_labels=[0, 1]).shape[0] == 2


def test_interval_and_schedule_are_kept(models, tmp_path):
    schedule = ScheduleConfig(shape="linear", over="sigma")
    export(export_config(*models, tmp_path / "a", weight=3.0, interval=(0.01, float("inf")), schedule=schedule))
    scheduler = EDMHeunScheduler()
    scheduler.set_timesteps(STEPS)
    cfg = WeightConfig(weight=3.0, interval=(0.01, float("inf")), schedule=schedule)
    weight = weight_function(cfg, scheduler.levels)
    assert {weight(sigma) for sigma in scheduler.levels} > {1.0}
    pipe = load(tmp_path / "a")
    assert pipe.weights() == cfg
    assert torch.equal(latents(pipe), own(models, weight))
    table = ScheduleConfig(table=((0, 1.0), (3, 2.0)))
    export(export_config(*models, tmp_path / "b", schedule=table))
    pipe = load(tmp_path / "b")
    assert pipe.weights() == WeightConfig(schedule=table)
    assert torch.equal(latents(pipe, guidance_weight=1.5), own(models, 1.5))


def test_round_trips(pipe, models, tmp_path, monkeypatch):
    """By our class no code of the folder runs; by diffusers' own it does, and only if it is trusted."""
    pipe.save_pretrained(tmp_path / "again")
    (tmp_path / "again" / "pipeline.py").write_text("raise AssertionError('not to be run')")
    assert torch.equal(latents(load(tmp_path / "again")), own(models, 1.8))

    monkeypatch.setattr("diffusers.utils.dynamic_modules_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    pipe.save_pretrained(tmp_path / "again")
    loaded = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "again", trust_remote_code=True)
    loaded.set_progress_bar_config(disable=True)
    assert torch.equal(latents(loaded), own(models, 1.8))
    with pytest.raises(ValueError, match="trust_remote_code"):
        diffusers.DiffusionPipeline.from_pretrained(tmp_path / "again")


def test_a_dtype_is_that_of_the_activations(folder, pipe):
    exact, half = latents(pipe), load(folder, torch_dtype=torch.float16)
    for network in (half.unet, half.guide):
        assert network.denoiser.compute_dtype == torch.float16
        assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}
    rounded = latents(half)
    assert rounded.dtype == torch.float32 and not torch.equal(rounded, exact)
    torch.testing.assert_close(rounded, exact, rtol=0, atol=0.03)
    assert torch.equal(latents(half.to(torch.float32)), exact)


def test_types_of_output(pipe):
    pixels = RGBEncoder(192.0).decode(latents(pipe)).numpy()
    images = pipe(seeds=SEEDS, num_inference_steps=STEPS).images
    assert all(isinstance(image, Image.Image) and image.mode == "L" for image in images)
    assert np.array_equal(np.stack([np.asarray(image) for image in images]), pixels[:, 0])
    array = latents(pipe, output_type="np")
    assert np.array_equal(array, pixels.transpose(0, 2, 3, 1).astype(np.float32) / 255)
    assert np.array_equal(latents(pipe, output_type="pt").numpy(), pixels.astype(np.float32) / 255)
    assert torch.equal(
        pipe(seeds=SEEDS, num_inference_steps=STEPS, output_type="latent", return_dict=False)[0], latents(pipe)
    )


def test_latents_are_decoded_by_the_vae_of_the_folder(tmp_path):
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(block_out_channels=(4, 4), down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2, norm_num_groups=2, latent_channels=1).eval()  # fmt: skip
    vae.save_pretrained(tmp_path / "vae")
    spec = {"name": "vae", "raw_mean": [0.1], "raw_std": [2.0]}
    main = write_snapshot(tmp_path / "main.safetensors", 1, encoder=spec)
    export(export_config(main, None, tmp_path / "out", vae=str(tmp_path / "vae")))
    pipe = load(tmp_path / "out", torch_dtype=torch.float16)
    images = np.stack([np.asarray(image) for image in pipe(seeds=SEEDS, num_inference_steps=STEPS).images])
    decoded = VAEEncoder(vae, [0.1], [2.0]).decode(latents(pipe)).permute(0, 2, 3, 1).numpy()
    assert images.shape == (3, 16, 16, 3) and np.abs(images.astype(int) - decoded).max() <= 1  # stored in float32
    pipe.vae = None
    with pytest.raises(UserError, match="has no vae"):
        pipe(seeds=[0], num_inference_steps=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"class_labels": 3}, r"label is 3; the main model has classes 0-2"),
        ({"class_labels": [0, 1]}, "numbers of images differ: class_labels 2, seeds 3"),
        ({"generator": torch.Generator()}, "seeds and generator are given"),
        ({"output_type": "jpg"}, "unknown output_type 'jpg'"),
        ({"num_inference_steps": 1}, "num_steps is 1"),
    ],
)
def test_bad_calls(pipe, call, message):
    with pytest.raises(UserError, match=message):
        latents(pipe, **call)


def test_a_weight_needs_a_guide(models, tmp_path):
    export(export_config(models[0], None, tmp_path / "alone"))
    pipe = load(tmp_path / "alone")
    assert pipe.guide is None and torch.equal(latents(pipe), own(models, 1))
    with pytest.raises(UserError, match=r"guidance weight is 2\.0 but the pipeline has no guide"):
        latents(pipe, guidance_weight=2.0)
