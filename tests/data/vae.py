"""A small autoencoder in the place of Stable Diffusion's."""

from typing import Any

import pytest
import torch


def tiny_vae() -> Any:
    """A random AutoencoderKL that divides sizes by 8; the test is skipped where there is no diffusers."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    return diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4, layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=64,
    )  # fmt: skip
