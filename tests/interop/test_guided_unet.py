"""Autoguidance in diffusers' pipelines, against loops written out by hand; tiny random networks, no download."""

import math

import pytest
import torch

from edm2lite.errors import UserError
from edm2lite.interop import autoguide, unguide
from tests.interop.conftest import diffusers

SMALL = {
    "sample_size": 8, "block_out_channels": (4, 8), "layers_per_block": 1, "norm_num_groups": 2, "attention_head_dim": 2,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "cross_attention_dim": 8,
}  # fmt: skip
STEPS, CFG, W = 4, 3.0, 2.5
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def unet(seed, **kwargs):
    torch.manual_seed(seed)
    return diffusers.UNet2DConditionModel(**{**SMALL, **kwargs}).eval().requires_grad_(False)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


EMBEDS, NEGATIVE, START = randn(2, 3, 8, seed=1), randn(2, 3, 8, seed=2), randn(2, 4, 8, 8, seed=3)
BOTH = torch.cat([NEGATIVE, EMBEDS])


def ddim(**kwargs):
    return diffusers.DDIMScheduler(**BETAS, steps_offset=1, clip_sample=False, **kwargs)


def tiny_vae():
    return diffusers.AutoencoderKL(block_out_channels=(4,), norm_num_groups=2, latent_channels=4)


def stable_diffusion(main, scheduler=None):
    pipe = diffusers.StableDiffusionPipeline(
        vae=tiny_vae(), text_encoder=None, tokenizer=None, unet=main, scheduler=scheduler or ddim(), safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run(pipe, **kwargs):
    arguments = {"prompt_embeds": EMBEDS, "negative_prompt_embeds": NEGATIVE, "latents": START.clone()}
    arguments |= {"num_inference_steps": STEPS, "guidance_scale": CFG, "output_type": "latent"}
    return pipe(**{**arguments, **kwargs}).images


def by_hand(networks, scheduler, weight, **kwargs):
    """The same images: classifier-free guidance of each network, then their combination."""
    scheduler.set_timesteps(STEPS)
    x = START.clone()
    for t in scheduler.timesteps:
        guided = []
        for network in networks:
            negative, positive = network(torch.cat([x, x]), t, encoder_hidden_states=BOTH, **kwargs).sample.chunk(2)
            guided.append(negative + CFG * (positive - negative))
        main, guide = guided
        abar = scheduler.alphas_cumprod[int(t)].item()
        x = scheduler.step(guide + weight(math.sqrt((1 - abar) / abar)) * (main - guide), t, x).prev_sample
    return x


class Counted:
    """Counts the evaluations of a network, and the timesteps."""

    def __init__(self, network):
        self.timesteps = []
        network.register_forward_pre_hook(lambda _, args: self.timesteps.append(int(args[1])))


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_stable_diffusion_with_classifier_free_guidance(prediction):
    networks, scheduler = [unet(0), unet(1)], ddim(prediction_type=prediction)
    pipe = stable_diffusion(networks[0], scheduler)
    plain = run(pipe)
    autoguide(pipe, networks[1], W)
    expected = by_hand(networks, ddim(prediction_type=prediction), lambda sigma: W)
    torch.testing.assert_close(run(pipe), expected, rtol=1e-4, atol=1e-4)
    assert (expected - plain).abs().max() > 0.01, "guidance does something here"


def test_combining_outputs_combines_denoised_images():
    """The equation that all of this rests on, by the schedulers' own conversion to denoised images."""
    for prediction in ("epsilon", "v_prediction"):
        scheduler = ddim(prediction_type=prediction)
        scheduler.set_timesteps(STEPS)
        t, main, guide = scheduler.timesteps[1], randn(2, 4, 8, 8, seed=4), randn(2, 4, 8, 8, seed=5)
        D_main, D_guide, D = (
            scheduler.step(out, t, START).pred_original_sample for out in (main, guide, guide + W * (main - guide))
        )
        torch.testing.assert_close(D, D_guide + W * (D_main - D_guide), rtol=1e-4, atol=1e-4)


def test_weight_1_is_bitwise_the_plain_pipeline_and_runs_no_guide():
    pipe, guide = stable_diffusion(unet(0)), unet(1)
    plain, counted = run(pipe), Counted(guide)
    autoguide(pipe, guide, 1.0)
    assert torch.equal(run(pipe), plain)
    unguide(pipe)
    autoguide(pipe, guide, W, interval=(1e4, 1e5))  # above all noise levels: (hi, hi]
    assert torch.equal(run(pipe), plain) and counted.timesteps == []


def test_interval():
    networks, scheduler = [unet(0), unet(1)], ddim()
    pipe, counted = stable_diffusion(networks[0], scheduler), Counted(networks[1])
    scheduler.set_timesteps(STEPS)
    sigmas = [math.sqrt(1 / scheduler.alphas_cumprod[t].item() - 1) for t in scheduler.timesteps.tolist()]
    autoguide(pipe, networks[1], W, interval=(sigmas[3], sigmas[1]))
    images = run(pipe)
    assert counted.timesteps == scheduler.timesteps[1:3].tolist()
    inside = (sigmas[1], sigmas[2])
    expected = by_hand(networks, ddim(), lambda sigma: W if any(sigma == pytest.approx(s) for s in inside) else 1.0)
    torch.testing.assert_close(images, expected, rtol=1e-4, atol=1e-4)


def test_schedules_follow_the_steps_of_each_run():
    networks = [unet(0), unet(1)]
    pipe = stable_diffusion(networks[0])
    autoguide(pipe, networks[1], schedule={"table": ((0, 1.0), (STEPS - 1, 4.0))})
    run(pipe, num_inference_steps=7)  # other noise levels
    weights = iter([1.0, 2.0, 3.0, 4.0])
    expected = by_hand(networks, ddim(), lambda sigma: next(weights))
    torch.testing.assert_close(run(pipe), expected, rtol=1e-4, atol=1e-4)


def test_noise_levels_between_timesteps_and_of_zero_terminal_snr():
    """Euler's timesteps are fractions, and its own sigmas say what is right."""
    scheduler = diffusers.EulerDiscreteScheduler(**BETAS, timestep_spacing="linspace")
    pipe = stable_diffusion(unet(0), scheduler)
    autoguide(pipe, unet(1), W, interval=(0.1, 10.0))
    scheduler.set_timesteps(7)
    found = [pipe.unet.weights._sigma(t) for t in scheduler.timesteps.tolist()]
    assert found == pytest.approx(scheduler.sigmas[:-1].tolist(), rel=1e-4)
    pipe.scheduler = ddim(rescale_betas_zero_snr=True)
    assert run(pipe).isfinite().all() and pipe.unet.weights._sigma(999) == 4096


def test_stable_diffusion_xl():
    extra = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 56,
    }
    networks = [unet(0, **extra), unet(1, **extra)]
    pipe = diffusers.StableDiffusionXLPipeline(
        vae=tiny_vae(), text_encoder=None, text_encoder_2=None, tokenizer=None, tokenizer_2=None, unet=networks[0],
        scheduler=ddim(), add_watermarker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    pooled = {"pooled_prompt_embeds": randn(2, 8, seed=6), "negative_pooled_prompt_embeds": randn(2, 8, seed=7)}
    plain = run(pipe, **pooled)
    autoguide(pipe, networks[1], W)
    size = pipe.default_sample_size * pipe.vae_scale_factor
    condition = {
        "text_embeds": torch.cat([pooled["negative_pooled_prompt_embeds"], pooled["pooled_prompt_embeds"]]),
        "time_ids": torch.tensor([[size, size, 0, 0, size, size]], dtype=torch.float32).repeat(4, 1),
    }
    expected = by_hand(networks, ddim(), lambda sigma: W, added_cond_kwargs=condition)
    torch.testing.assert_close(run(pipe, **pooled), expected, rtol=1e-4, atol=1e-4)
    unguide(pipe)
    assert torch.equal(run(pipe, **pooled), plain)


def deepfloyd(main):
    scheduler = diffusers.DDPMScheduler(variance_type="learned_range", beta_schedule="squaredcos_cap_v2")
    pipe = diffusers.IFPipeline(
        tokenizer=None, text_encoder=None, unet=main, scheduler=scheduler, safety_checker=None, feature_extractor=None,
        watermarker=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_deepfloyd_takes_the_variance_of_the_main():
    shape = {"in_channels": 3, "out_channels": 6}
    main, guide = unet(0, **shape), unet(1, **shape)
    pipe = deepfloyd(main)

    def images():
        generator = torch.Generator().manual_seed(0)
        return pipe(prompt_embeds=EMBEDS, negative_prompt_embeds=NEGATIVE, num_inference_steps=STEPS, guidance_scale=CFG,
                    generator=generator, output_type="pt").images  # fmt: skip

    autoguide(pipe, guide, W)
    guided, generator, scheduler = images(), torch.Generator().manual_seed(0), pipe.scheduler
    x = torch.randn(2, 3, 8, 8, generator=generator)
    for t in scheduler.timesteps:
        out = [network(torch.cat([x, x]), t, encoder_hidden_states=BOTH).sample for network in (main, guide)]
        eps = [o[:2, :3] + CFG * (o[2:, :3] - o[:2, :3]) for o in out]
        variance = out[0][2:, 3:]
        prediction = torch.cat([eps[1] + W * (eps[0] - eps[1]), variance], dim=1)
        x = scheduler.step(prediction, t, x, generator=generator).prev_sample
    torch.testing.assert_close(guided, x, rtol=1e-4, atol=1e-4)
    unguide(pipe)
    plain = images()
    assert (plain - guided).abs().max() > 0.01
    autoguide(pipe, unet(1, in_channels=3, out_channels=3), 1.0)
    assert torch.equal(images(), plain)


def test_the_variance_of_a_superresolution_network_which_takes_twice_the_channels():
    """DeepFloyd's second stage: 3 noisy and 3 low-resolution channels in; 3 of prediction and 3 of variance out."""
    shape = {"in_channels": 6, "out_channels": 6}
    main, guide = unet(0, **shape), unet(1, **shape)
    pipe = deepfloyd(main)
    x, arguments = randn(2, 6, 8, 8), {"encoder_hidden_states": EMBEDS}
    autoguide(pipe, guide, W)
    a, b = (network(x, 500, **arguments).sample for network in (main, guide))
    expected = torch.cat([b[:, :3] + W * (a[:, :3] - b[:, :3]), a[:, 3:]], dim=1)
    torch.testing.assert_close(pipe.unet(x, 500, **arguments).sample, expected)
    torch.testing.assert_close(pipe.unet(x, 500, return_dict=False, **arguments)[0], expected)
    torch.testing.assert_close(pipe.unet(x, 500, EMBEDS).sample, expected)


def test_a_guide_may_lack_the_variance_under_any_scheduler():
    main, guide = unet(0, in_channels=3, out_channels=6), unet(1, in_channels=3, out_channels=3)
    pipe, x = deepfloyd(main), randn(2, 3, 8, 8)
    autoguide(pipe, guide, W)
    a, b = (network(x, 500, EMBEDS).sample for network in (main, guide))
    expected = torch.cat([b + W * (a[:, :3] - b), a[:, 3:]], dim=1)
    for scheduler in (pipe.scheduler, ddim()):  # that with, and one without learned variances
        pipe.scheduler = scheduler
        torch.testing.assert_close(pipe.unet(x, 500, EMBEDS).sample, expected)


def test_the_guided_network_is_otherwise_the_main():
    main, guide = unet(0), unet(1).double()
    pipe = stable_diffusion(main)
    autoguide(pipe, guide, W)
    assert pipe.unet.config is main.config and pipe.unet.dtype == guide.dtype == torch.float32
    assert pipe.unet.conv_in is main.conv_in
    with pytest.raises(AttributeError, match="no_such_thing"):
        pipe.unet.no_such_thing  # noqa: B018
    pipe.to(torch.float64)
    assert {p.dtype for p in [*main.parameters(), *guide.parameters()]} == {torch.float64}, (
        "both move with the pipeline"
    )


def test_undoing_and_saving(tmp_path):
    main = unet(0)
    pipe = stable_diffusion(main)
    autoguide(pipe, unet(1), W)
    with pytest.raises(UserError, match="cannot be saved; call unguide"):
        pipe.save_pretrained(tmp_path)
    with pytest.raises(UserError, match="guided already"):
        autoguide(pipe, unet(1), W)
    unguide(pipe)
    assert pipe.unet is main and pipe.config.unet == ("diffusers", "UNet2DConditionModel")
    with pytest.raises(UserError, match="is not guided"):
        unguide(pipe)


def test_refusals():
    pipe = stable_diffusion(unet(0))
    with pytest.raises(UserError, match="take 4 and 3 channels"):
        autoguide(pipe, unet(1, in_channels=3), W)
    with pytest.raises(UserError, match="two weights"):
        autoguide(pipe, unet(1), W, schedule={"table": ((0, 1.0),)})
    with pytest.raises(UserError, match="a guide but no weight"):
        autoguide(pipe, unet(1), interval=(0.1, 2.0))
    with pytest.raises(UserError, match="AutoencoderKL has no unet"):
        autoguide(tiny_vae(), unet(1), W)
    edm = stable_diffusion(unet(0), ddim())
    edm.scheduler = diffusers.EDMEulerScheduler()
    with pytest.raises(UserError, match="EDMEulerScheduler has no alphas_cumprod"):
        autoguide(edm, unet(1), W, interval=(0.1, 2.0))
    autoguide(edm, unet(1), W)  # a constant weight needs no noise level
    assert run(edm).isfinite().all()
