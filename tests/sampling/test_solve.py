"""What all solvers have in common, and that a configuration reaches them."""

import functools

import pytest
import torch

from edm2lite import karras_sigmas
from edm2lite.config import SamplerConfig
from edm2lite.config.sampling import SOLVERS
from edm2lite.sampling import solve as solving
from edm2lite.sampling.seeded import SeededStreams
from edm2lite.sampling.solve import solve
from tests.sampling.exact import Recorder, centred_away

RANDOM = {"heun": {"S_churn": 20}, "euler": {"S_churn": 20, "S_noise": 1.01}, "ancestral": {"v": 0.6}}
EVERY = pytest.mark.parametrize("name", SOLVERS)


def solver(name):
    return getattr(solving, f"sample_{name}")


def unit(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def source(seed=0):
    """A source of fresh noise that can be started anew."""
    return functools.partial(lambda g, x: torch.randn(x.shape, generator=g), torch.Generator().manual_seed(seed))


@EVERY
def test_number_of_evaluations(name):
    denoise = Recorder(centred_away)
    solver(name)(denoise, unit(1, 1, 2, 2), num_steps=10)
    assert len(denoise.calls) == (19 if name in ("heun", "dpmpp_2s") else 10)


@EVERY
def test_the_last_step_returns_the_denoised_at_the_lowest_level(name):
    denoise = Recorder(centred_away)
    out = solver(name)(denoise, unit(1, 1, 2, 2), num_steps=5, dtype=torch.float64)
    x, sigma, _ = denoise.calls[-1]
    assert float(sigma) == pytest.approx(0.002)
    torch.testing.assert_close(out, centred_away(x, sigma))


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_denoiser_is_handed_sigma_on_the_cpu_and_x_and_labels_where_they_are(name, dtype):
    """The meta device stands in for a GPU: a sigma there could not be read without waiting."""
    denoise = Recorder(centred_away)
    noise, labels = torch.empty(3, 1, 2, 2, device="meta"), torch.empty(3, dtype=torch.int64, device="meta")
    out = solver(name)(denoise, noise, labels=labels, num_steps=4, dtype=dtype, **RANDOM.get(name, {}))
    assert out.device.type == "meta" and out.dtype == dtype and out.shape == noise.shape
    for x, sigma, y in denoise.calls:
        assert (sigma.device.type, sigma.shape, sigma.dtype) == ("cpu", (), dtype)
        assert x.device.type == "meta" and x.dtype == dtype and y is labels


@EVERY
def test_explicit_levels_equal_to_edms_give_the_same_bits(name):
    noise = unit(2, 1, 2, 2)
    run = lambda **levels: solver(name)(  # noqa: E731
        centred_away, noise, **levels, **RANDOM.get(name, {}), **({"randn_like": source()} if name in RANDOM else {})
    )
    formula, table = run(num_steps=9, sigma_max=60), karras_sigmas(9, sigma_max=60)[:-1]
    assert torch.equal(run(sigmas=table), formula) and torch.equal(run(sigmas=table.tolist(), num_steps=3), formula)
    assert not torch.equal(run(num_steps=9), formula)


@EVERY
def test_a_sample_does_not_depend_on_its_batch(name):
    cfg = SamplerConfig(solver=name, num_steps=6, **RANDOM.get(name, {}))

    def run(seeds):
        streams = SeededStreams(seeds)
        return solve(cfg, centred_away, streams.randn((1, 2, 2)), randn_like=streams.randn_like)

    together = run([1, 2, 3, 4, 5])
    assert torch.equal(run([4, 2]), together[[3, 1]]) and torch.equal(run([5]), together[4:])


@EVERY
def test_no_graph_is_kept(name):
    weight = torch.ones((), requires_grad=True)
    out = solver(name)(lambda x, sigma, labels: weight * x / 2, unit(1, 1, 2, 2), num_steps=3)
    assert not out.requires_grad


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        *((name, {"num_steps": 6, "sigma_min": 0.01, "sigma_max": 40.0, "rho": 5.0}) for name in SOLVERS),
        *((name, {"sigmas": (10.0, 1.0, 0.1)}) for name in SOLVERS),
        *((name, {"S_churn": 3.0, "S_min": 0.5, "S_max": 20.0, "S_noise": 1.1}) for name in ("heun", "euler")),
        ("ancestral", {"v": 0.8}),
    ],
)
def test_a_configuration_reaches_its_solver(name, settings):
    noise, labels = unit(2, 1, 2, 2), torch.tensor([3, 7])
    denoise = Recorder(centred_away)
    out = solve(SamplerConfig(solver=name, **settings), denoise, noise, labels=labels, randn_like=source())
    random = {"randn_like": source()} if name in RANDOM else {}
    assert torch.equal(out, solver(name)(centred_away, noise, **settings, **random))
    assert all(y is labels for _, _, y in denoise.calls)
    for setting in settings:  # each of them matters
        rest = {key: value for key, value in settings.items() if key != setting}
        random = {"randn_like": source()} if name in RANDOM else {}
        assert not torch.equal(out, solver(name)(centred_away, noise, **rest, **random)), setting


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
@EVERY
def test_no_solver_waits_for_the_gpu(name):
    noise = unit(2, 1, 4, 4).cuda()
    torch.cuda.synchronize()
    try:
        torch.cuda.set_sync_debug_mode("error")
        solver(name)(lambda x, sigma, labels: x * float(1 / (1 + sigma**2)), noise, num_steps=5, **RANDOM.get(name, {}))
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("solver", SOLVERS)
def test_torchs_default_device_does_not_matter(solver):
    cfg, noise = SamplerConfig(solver=solver, num_steps=4), torch.ones(1, 1, 2, 2)
    expected = solve(cfg, lambda x, sigma, labels: x / (1 + sigma**2), noise, randn_like=torch.ones_like)
    with torch.device("meta"):
        images = solve(cfg, lambda x, sigma, labels: x / (1 + sigma**2), noise, randn_like=torch.ones_like)
    assert torch.equal(images, expected)
