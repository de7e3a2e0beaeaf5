"""Sampling with networks made ready for it, compiled or not."""

import json
from dataclasses import replace

import pytest
import torch

from edm2lite.config import GuidanceConfig, GuideConfig, ModelRef, SampleConfig, SamplerConfig
from edm2lite.errors import UserError
from edm2lite.network.optimize import AppliedConv
from edm2lite.sampling.pair import load_pair
from edm2lite.sampling.reading import open_images
from edm2lite.sampling.write import sample

SAMPLER = SamplerConfig(num_steps=5)


def pair(run, compile=False):
    main, guide = ModelRef(path=str(run)), ModelRef(path=str(run), nimg=80, dropout=0.1)
    return load_pair(main, guide, GuidanceConfig(weight=2.0), device="cpu", compile=compile)


def test_weights_are_normalised_once_and_not_in_every_evaluation(tiny_run):
    parts = pair(tiny_run)._parts
    for denoiser in (parts.main[0], parts.guides[0][0]):
        assert any(isinstance(module, AppliedConv) for module in denoiser.modules())


def test_compiled_images_have_an_identity_of_their_own(tiny_run):
    plain, compiled = pair(tiny_run), pair(tiny_run, compile=True)
    assert compiled.identity() == {**plain.identity(), "compiled": True}
    assert all(part.identity()["compiled"] for part in (compiled.alone(), compiled.guide_alone()))
    assert "compiled" not in plain.identity()  # whose features were kept before there was a choice


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["heun", "dpmpp_2m"])
def test_compiled_images_are_those_of_eager_to_rounding(solver, tiny_run):
    sampler, seeds = replace(SAMPLER, solver=solver), [3, 1, 4, 1, 5]
    plain, compiled, again = (
        next(pair(tiny_run, compile).sample(seeds, sampler, 8)).images for compile in (False, True, True)
    )
    assert torch.equal(compiled, again)
    torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_command(tiny_run, tmp_path):
    main = ModelRef(path=str(tiny_run))
    guide = GuideConfig(path=str(tiny_run), nimg=80, weight=1.5)
    cfg = SampleConfig(
        main=main, guidance=GuidanceConfig(guides=(guide,)), sampler=SAMPLER, seeds="0-9", batch_size=8, device="cpu",
        outdir=str(tmp_path / "plain"),
    )  # fmt: skip
    compiled = replace(cfg, compile=True, outdir=str(tmp_path / "compiled"))
    sample(cfg)
    sample(compiled)
    assert json.loads((tmp_path / "compiled" / "manifest.json").read_text())["compiled"] is True
    folders = [open_images(str(tmp_path / name)) for name in ("plain", "compiled")]
    for i in range(10):
        a, b = (folder.read(i).astype(int) for folder in folders)
        assert abs(a - b).max() <= 1
    with pytest.raises(UserError, match=r"compiled \(true, now null\)"):
        sample(replace(compiled, compile=False))
