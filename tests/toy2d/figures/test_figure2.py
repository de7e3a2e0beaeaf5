"""Figure 2: the ratio of a model with itself, and the ways drawn."""

import numpy as np
import torch

from edm2lite.config import ModelRef, SamplerConfig, Toy2dPlotConfig
from edm2lite.toy2d.figures.figure2 import draw
from edm2lite.toy2d.figures.pairs import pairs

A = ModelRef(path="exact:A")
CFG = Toy2dPlotConfig(
    main=A, guide=A, cfg_guide=A, sampler=SamplerConfig(num_steps=3, sigma_max=5.0), num_paths=6, first_seed=2, grid=12
)  # fmt: skip


def test_of_a_model_guided_by_itself():
    calls, samplers = [], pairs(CFG)
    axes = draw(CFG, samplers, lambda: calls.append(1)).axes
    ratio = np.ma.compressed(axes[3].images[0].get_array())
    assert len(calls) == 3 and len(ratio) and not ratio.any()
    for panel, pair in zip(axes[4:6], (samplers.alone, samplers.autoguided), strict=True):
        ways = [way for collection in panel.collections[1:] for way in collection.get_segments()]  # [0]: the region
        ends = np.array(sorted(way[-1].tolist() for way in ways))
        assert np.array_equal(ends, np.array(sorted(pair(range(2, 8)).double().tolist())))
        dots = np.concatenate([line.get_xydata() for line in panel.lines])
        assert np.array_equal(np.array(sorted(dots.tolist())), ends)


def test_only_the_part_with_little_noise_is_drawn():
    axes = draw(CFG, pairs(CFG)).axes[4]
    lengths = {len(way) for collection in axes.collections[1:] for way in collection.get_segments()}
    assert lengths == {int((torch.tensor([5.0, 0.2, 0.002, 0.0]) < 0.5).sum())}  # the noise levels, about
