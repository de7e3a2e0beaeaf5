"""Encoders against the published maps; the VAE through a tiny random AutoencoderKL."""

import sys

import pytest
import torch

from edm2lite import RGBEncoder, VAEEncoder
from edm2lite.data.encoders import make_encoder
from edm2lite.errors import UserError
from tests.data.vae import tiny_vae


def test_rgb_published(golden):
    g = golden("encoders")
    torch.testing.assert_close(RGBEncoder().encode(g["rgb/uint8"]), g["rgb/encoded"], rtol=0, atol=1e-6)
    assert torch.equal(RGBEncoder().decode(g["rgb/float"]), g["rgb/decoded"])


def test_latents_published(golden):
    g = golden("encoders")
    moments, expected = g["latent/raw_mean_std"], g["latent/encoded_when_std_is_zero"]
    encoder = VAEEncoder()
    out = encoder.encode(moments, noise=torch.zeros_like(expected))
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)
    noise = torch.randn_like(expected)
    scale = 0.5 / torch.tensor([4.17, 4.62, 3.71, 3.28]).reshape(1, 4, 1, 1)
    torch.testing.assert_close(encoder.encode(moments, noise=noise), out + moments[:, 4:] * noise * scale)


def test_every_grey_level_survives():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    for scale in (127.5, 168.0, 192.0):
        encoder = make_encoder({"name": "rgb", "scale": scale})
        assert torch.equal(encoder.decode(encoder.encode(levels)), levels)


def test_unit_pixels_are_those_of_decode_before_rounding():
    encoder = RGBEncoder(192.0)
    x = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
    pixels = encoder.unit(x)
    assert pixels.aminmax() == (0, 1)
    torch.testing.assert_close(pixels.detach() * 255, encoder.decode(x).float(), rtol=0, atol=0.501)
    slope = torch.autograd.grad(pixels.sum(), x)[0]
    inside = (pixels > 0) & (pixels < 1)
    torch.testing.assert_close(slope, inside * 192 / 255)


@pytest.mark.filterwarnings("ignore")
def test_vae_pixels_and_back():
    vae = tiny_vae()
    encoder = VAEEncoder(vae, batch_size=2)
    pixels = torch.randint(256, (3, 3, 64, 64), dtype=torch.uint8)
    moments = encoder.moments(pixels)
    assert moments.shape == (3, 8, 8, 8) and (moments[:, 4:] > 0).all()
    noise = torch.randn(3, 4, 8, 8)
    latents = encoder.encode(pixels, noise=noise)
    torch.testing.assert_close(latents, encoder.encode(moments, noise=noise))
    raw = moments[:, :4] + moments[:, 4:] * noise
    expected = (vae.decode(raw).sample.clamp(0, 1) * 255).to(torch.uint8)
    out = encoder.decode(latents)
    assert out.dtype == torch.uint8 and out.shape == pixels.shape
    assert (out.int() - expected.int()).abs().max() <= 1
    unit = encoder.unit(latents.requires_grad_())
    assert torch.equal((unit * 255).to(torch.uint8), out) and torch.autograd.grad(unit.sum(), latents)[0].any()


def test_unknown_encoder_and_missing_package(monkeypatch):
    with pytest.raises(UserError, match="choose one of: rgb, vae"):
        make_encoder({"name": "jpeg"})
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(UserError, match=r"edm2lite\[vae\]"):
        VAEEncoder().decode(torch.zeros(1, 4, 8, 8))
