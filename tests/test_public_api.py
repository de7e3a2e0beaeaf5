"""The public names, and that they cost nothing until used."""

import subprocess
import sys

import pytest

import edm2lite
import edm2lite.interop

NAMES = [
    "load_denoiser",
    "karras_sigmas",
    "sample_heun",
    "sample_euler",
    "sample_dpmpp_2m",
    "sample_dpmpp_2s",
    "sample_deis",
    "sample_unipc",
    "sample_ancestral",
    "guided",
    "seeded_noise",
    "sigma_rel_to_gamma",
    "power_function_beta",
    "posthoc_coefficients",
    "learning_rate",
    "frechet_distance",
    "center_crop",
    "RGBEncoder",
    "VAEEncoder",
    "UserError",
]


@pytest.mark.parametrize("name", NAMES)
def test_importable_and_documented(name):
    thing = getattr(edm2lite, name)
    assert name in dir(edm2lite) and name in edm2lite.__all__
    assert thing.__doc__ and len(thing.__doc__) > 40


def test_unknown_names_list_the_known():
    with pytest.raises(AttributeError, match=r"'edm2lite' has no attribute 'load_denoisers'; .*load_denoiser, "):
        _ = edm2lite.load_denoisers
    with pytest.raises(
        AttributeError, match=r"'edm2lite.interop' has no .*EDM2Pipeline, EDM2UNet, .*autoguide, unguide"
    ):
        _ = edm2lite.interop.guide
    assert set(edm2lite.interop.__all__) <= set(dir(edm2lite.interop))


def test_importing_the_package_and_the_command_line_needs_no_torch():
    code = "import sys, edm2lite, edm2lite.cli, edm2lite.interop, edm2lite.sampling.preflight; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
