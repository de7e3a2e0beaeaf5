"""Gradient guidance: closed forms on a linear denoiser, a real network against finite differences, errors."""

import sys

import pytest
import torch

from edm2lite.config import GradientConfig
from edm2lite.errors import UserError
from edm2lite.guidance.gradient import gradient_guided, make_function
from tests.conftest import tiny_denoiser

S, MEAN = 0.5, 0.3
TARGET = torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(3, 2, 2)
X = torch.randn(4, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def slope(sigma):
    """Of the denoiser of N(MEAN, S^2) data."""
    return S**2 / (S**2 + torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, 1, 1, 1) ** 2)


def denoise(x, sigma, labels=None):
    return MEAN + slope(sigma) * (x - MEAN)


def nearness(denoised, sigma, labels=None):
    return -((denoised - TARGET) ** 2).sum(dim=(1, 2, 3)) / 2


@pytest.mark.parametrize("through", ["network", "denoised"])
@pytest.mark.parametrize("sigma", [0.6, torch.tensor([0.1, 0.5, 2.0, 30.0], dtype=torch.float64)])
def test_a_square_pulls_a_linear_denoiser_as_far_as_the_formula_says(through, sigma):
    with torch.no_grad():  # as in a solver
        guided = gradient_guided(denoise, nearness, 0.8, through)(X, sigma)
    D, square = denoise(X, sigma), torch.as_tensor(sigma, dtype=torch.float64).reshape(-1, 1, 1, 1) ** 2
    gradient = (TARGET - D) * (slope(sigma) if through == "network" else 1)
    torch.testing.assert_close(guided, D + 0.8 * square * gradient, rtol=1e-12, atol=1e-12)
    assert not guided.requires_grad


def test_scale_0_is_the_main_model_itself():
    assert gradient_guided(denoise, nearness, 0.0) is denoise


def test_the_function_sees_denoised_image_noise_level_and_labels():
    seen = []

    def function(denoised, sigma, labels):
        seen.append((denoised.detach().clone(), sigma, labels))
        return denoised.sum(dim=(1, 2, 3))

    labels = torch.arange(4)
    for through in ("network", "denoised"):
        gradient_guided(denoise, function, 1.0, through)(X, 0.6, labels)
    for denoised, sigma, given in seen:
        assert torch.equal(denoised, denoise(X, 0.6)) and sigma == 0.6 and given is labels
    assert len(seen) == 2


@pytest.mark.parametrize(
    "wrap", [lambda net: net, lambda net: lambda *args: net(*args, dropout=(0.3, torch.arange(2)))]
)
def test_through_a_frozen_network_the_gradient_is_that_of_finite_differences(wrap):
    net = tiny_denoiser()
    main = wrap(net)
    x, sigma = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)), 0.5

    def value(denoised, *_):
        return (denoised**3).sum(dim=(1, 2, 3))

    with torch.no_grad():
        move = (gradient_guided(main, value, 1.0)(x, sigma, None) - main(x, sigma, None)) / sigma**2
        direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        up, down = (value(main(x + h * direction, sigma, None)) for h in (1e-2, -1e-2))
    slopes = (move * direction).sum(dim=(1, 2, 3))
    torch.testing.assert_close(slopes, (up - down) / 2e-2, rtol=2e-2, atol=2e-2)
    assert all(p.grad is None for p in net.parameters())


@pytest.mark.parametrize("through", ["network", "denoised"])
def test_a_function_that_cannot_guide_is_refused(through):
    with pytest.raises(UserError, match=r"returns shape \[\] for 4 images"):
        gradient_guided(denoise, lambda d, *_: d.sum(), 1.0, through)(X, 1.0)
    with pytest.raises(UserError, match="without a gradient"):
        gradient_guided(denoise, lambda d, *_: d.detach().sum(dim=(1, 2, 3)), 1.0, through)(X, 1.0)


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "wishes.py").write_text(
        "def nearness(target, *, to_pixels, device):\n"
        "    return lambda denoised, sigma, labels: -((to_pixels(denoised) - target) ** 2).sum((1, 2, 3)) / 2\n"
        "def _hidden(): pass\nNUMBER = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "wishes"
    sys.modules.pop("wishes", None)


def test_a_function_is_made_by_its_name(module):
    spec = GradientConfig(function=f"{module}:nearness", arguments={"target": 0.5}, scale=1.0)
    function = make_function(spec, lambda x: (x + 1) / 2, "cpu")
    guided = gradient_guided(denoise, function, 2.0, "denoised")(X, 0.6)
    D = denoise(X, 0.6)
    torch.testing.assert_close(guided, D + 2 * 0.36 * (0.5 - (D + 1) / 2) / 2)


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("wishes", {}, "write module:name"),
        ("wishes:", {}, "write module:name"),
        ("no_such:thing", {}, "no_such cannot be imported"),
        (".wishes:nearness", {}, "cannot be imported"),
        ("collections:OrderedDict", {}, "cannot be called with"),
        ("edm2lite.sampling.classified:class_score", {"path": "none", "ema": "big"}, "cannot be called with"),
        ("edm2lite.sampling.classified:class_score", {"path": "none"}, "^classifier none does not exist"),
        ("wishes:wish", {}, "has no function wish; it has: nearness"),
        ("wishes:NUMBER", {}, "has no function NUMBER"),
        ("wishes:nearness", {}, "missing a required argument: 'target'"),
        ("wishes:nearness", {"target": 0, "strength": 1}, "unexpected keyword argument 'strength'"),
    ],
)
def test_names_and_arguments_that_do_not_fit(module, name, arguments, said):
    with pytest.raises(UserError, match=said):
        make_function(GradientConfig(function=name, arguments=arguments, scale=1.0), lambda x: x, "cpu")
