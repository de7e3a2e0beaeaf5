"""Composition: its order, closed forms on Gaussian data, randomness by seed, and the count of evaluations."""

import pytest
import torch

from edm2lite.config import ClassifierConfig, GuidanceConfig, GuideConfig, ModelRef, SamplerConfig, ScheduleConfig
from edm2lite.errors import UserError
from edm2lite.sampling.compose import Parts, compose, count_evaluations, weights
from edm2lite.sampling.noise_levels import noise_levels
from edm2lite.sampling.seeded import SeededStreams
from edm2lite.sampling.solve import solve
from tests.conftest import tiny_denoiser
from tests.guidance.gaussian import Gaussian

SAMPLER = SamplerConfig(num_steps=6)
X, SIGMA = torch.randn(2, 1, 4, 4), torch.tensor(0.6)


PLAIN = GuidanceConfig()


def guide(weight=2.0, **settings):
    return GuideConfig(path="guide", weight=weight, **settings)


def sampled(parts, guidance=PLAIN, sampler=SAMPLER, seeds=(0, 1, 2), labels=None):
    streams = SeededStreams(seeds)
    denoise = compose(parts, guidance, sampler, seeds)
    return solve(sampler, denoise, streams.randn((1, 8, 8)), labels=labels, randn_like=streams.randn_like)


def log_class(x, sigma):
    """Logits whose log-softmax is linear enough to differentiate by hand: (0, sum of x)."""
    total = x.flatten(1).sum(1)
    return torch.stack([torch.zeros_like(total), total], dim=1)


def test_the_order_is_networks_guides_truncation_classifier_function():
    main, other, labels = Gaussian(0.5), Gaussian(0.9), torch.tensor([0, 1])
    parts = Parts(main=(main, ModelRef(sigma_scale=1.1)), guides=[(other, guide(2.5))], classifier=log_class)
    guidance = GuidanceConfig(truncation=1.3, classifier=ClassifierConfig(path="c", scale=0.7))
    denoised = compose(parts, guidance, SAMPLER, [0, 1])(X, SIGMA, labels)
    m, g = main(X, 1.1 * SIGMA, labels), other(X, SIGMA, labels)
    both = g + 2.5 * (m - g)
    truncated = X + 1.3 * (both - X)
    p = log_class(X, None).softmax(1)
    gradient = torch.where(labels == 0, -p[:, 1], p[:, 0]).reshape(-1, 1, 1, 1)  # of log p(label) by every pixel
    torch.testing.assert_close(denoised, truncated + 0.7 * SIGMA**2 * gradient)


def test_without_guidance_the_denoiser_is_the_main_itself():
    main = tiny_denoiser()
    assert compose(Parts(main=(main, ModelRef())), PLAIN, SAMPLER, [0]) is main


@pytest.mark.parametrize(
    "degraded", [{"dropout": 0.2}, {"input_noise": 0.2}, {"dropout": 0.2, "input_noise": 0.1, "sigma_scale": 1.05}]
)
@pytest.mark.parametrize("churn", [0.0, 20.0])
def test_degraded_samples_belong_to_their_seed_whatever_the_batch(degraded, churn):
    main, weak = tiny_denoiser(), tiny_denoiser(seed=1)
    parts = Parts(main=(main, ModelRef(**degraded)), guides=[(weak, guide(1.5, **degraded))])
    sampler = SamplerConfig(num_steps=4, S_churn=churn)
    whole = sampled(parts, sampler=sampler, seeds=(0, 1, 2))
    torch.testing.assert_close(sampled(parts, sampler=sampler, seeds=(2, 0)), whole[[2, 0]], rtol=1e-5, atol=1e-4)
    other_order = sampled(parts, sampler=sampler, seeds=(2, 0, 1))
    torch.testing.assert_close(other_order, whole[[2, 0, 1]], rtol=1e-5, atol=1e-4)
    plain = Parts(main=(main, ModelRef()), guides=[(weak, guide(1.5))])
    assert not torch.allclose(sampled(plain, sampler=sampler), whole, atol=1e-3)


@pytest.mark.parametrize(
    "solver", [{"S_churn": 20.0}, {"solver": "euler", "S_churn": 20.0}, {"solver": "ancestral"}], ids=str
)
def test_images_agree_over_batch_sizes_with_everything_that_is_random(solver):
    worse = {"dropout": 0.1, "input_noise": 0.1}
    nets = [tiny_denoiser(seed=seed) for seed in (0, 1)]
    parts = Parts(main=(nets[0], ModelRef(**worse)), guides=[(nets[1], guide(1.5, **worse))])
    sampler, seeds = SamplerConfig(num_steps=4, **solver), list(range(10))
    alone = torch.cat([sampled(parts, sampler=sampler, seeds=[seed]) for seed in seeds])
    for size in (5, 10):
        together = [sampled(parts, sampler=sampler, seeds=seeds[i : i + size]) for i in range(0, 10, size)]
        torch.testing.assert_close(torch.cat(together), alone, rtol=1e-5, atol=1e-4)


def test_main_and_guide_have_randomness_of_their_own():
    net, worse = tiny_denoiser(), {"dropout": 0.2}
    same = compose(Parts(main=(net, ModelRef(**worse)), guides=[(net, guide(2.0, **worse))]), PLAIN, SAMPLER, [0, 1])
    x = torch.randn(2, 1, 8, 8)
    alone = compose(Parts(main=(net, ModelRef(**worse))), PLAIN, SAMPLER, [0, 1])
    assert not torch.equal(same(x, SIGMA), alone(x, SIGMA)), "equal masks would cancel"


def test_churn_does_not_depend_on_the_guides_randomness():
    """The guide's streams are its own, so that two guides are compared on the same noise."""
    drawn = []
    for ref in (guide(2.0), guide(2.0, input_noise=0.3)):
        streams = SeededStreams([5, 6])
        denoise = compose(
            Parts(main=(Gaussian(0.5), ModelRef()), guides=[(Gaussian(0.9), ref)]), PLAIN, SAMPLER, [5, 6]
        )
        noise = streams.randn((1, 4, 4))
        solve(SAMPLER, denoise, noise, randn_like=streams.randn_like)
        drawn.append(streams.randn((1, 4, 4)))
    assert torch.equal(*drawn)


def test_evaluations_are_counted_and_saved_where_the_weight_is_1():
    levels = noise_levels(SamplerConfig(num_steps=32)).tolist()
    sampler = SamplerConfig(num_steps=32)
    main = (Gaussian(0.5), ModelRef())
    assert count_evaluations(Parts(main=main), PLAIN, sampler) == {"main": 63}
    assert count_evaluations(Parts(main=main, guides=[(main[0], guide())]), PLAIN, sampler) == {
        "main": 63,
        "guide": 63,
    }
    inside = guide(interval=(levels[20], levels[10]))
    expected = {"main": 63, "guide": 20}  # Heun: twice at each of the levels 10 ... 19
    real = Gaussian(0.9)
    parts = Parts(main=main, guides=[(real, inside)])
    assert count_evaluations(parts, PLAIN, sampler) == expected and real.calls == 0
    sampled(parts, sampler=sampler)
    assert real.calls == 20, "what is counted is what happens"
    table = guide(weight=None, schedule=ScheduleConfig(table=((0, 1), (15, 1), (16, 2), (31, 2))))
    two = Parts(main=main, guides=[(main[0], inside), (main[0], table)], classifier=log_class)
    counts = count_evaluations(
        two, GuidanceConfig(classifier=ClassifierConfig(path="c", scale=1.0)), SamplerConfig(solver="euler")
    )
    assert counts == {"main": 32, "guide 1": 10, "guide 2": 16, "classifier": 32}


def test_w_1_is_the_main_bitwise_also_inside_a_guided_pass():
    """Outside of the interval every step is the main's; only the guided steps differ."""
    main, weak = tiny_denoiser(), tiny_denoiser(seed=1)
    d = compose(Parts(main=(main, ModelRef()), guides=[(weak, guide(interval=(0.1, 1.0)))]), PLAIN, SAMPLER, [0])
    x = torch.randn(1, 1, 8, 8)
    for sigma in (5.0, 0.01):
        assert torch.equal(d(x, torch.tensor(sigma)), main(x, torch.tensor(sigma)))
    inside = next(s for s in noise_levels(SAMPLER).tolist() if 0.1 < s < 1)
    assert not torch.equal(d(x, torch.tensor(inside)), main(x, torch.tensor(inside)))


def test_a_guide_that_no_noise_level_uses_is_an_error():
    with pytest.raises(
        UserError, match=r"weight of guide guide is 1 at every noise level .*interval \(\[0.1, 0.11\]\)"
    ):
        weights([(None, guide(interval=(0.1, 0.11)))], SAMPLER)
