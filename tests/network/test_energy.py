"""The energy of the 2D example: parity, and that it is a log-density, its score and its denoiser at once."""

import pytest
import torch

from edm2lite.config import NetworkConfig
from edm2lite.errors import UserError
from edm2lite.network.energy import Energy


@pytest.fixture
def net(golden) -> Energy:
    net = Energy(1, 2, 0, NetworkConfig(model_channels=16))
    prefix = "mlp/state/"
    net.load_state_dict({k.removeprefix(prefix): v for k, v in golden("toy2d").items() if k.startswith(prefix)})
    return net.requires_grad_(False)


def test_parity_of_log_density_and_score(net, golden):
    expected = golden("toy2d")
    x, sigma = expected["mlp/x"], expected["mlp/sigma"]
    torch.testing.assert_close(net.logp(x, sigma), expected["mlp/logp"], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(net.score(x, sigma), expected["mlp/score"], rtol=1e-4, atol=1e-4)


def test_score_is_the_gradient_of_the_log_density(net, golden):
    x, h = golden("toy2d")["mlp/x"].double(), 1e-5
    net = net.double()
    for i, step in enumerate(torch.eye(2, dtype=torch.float64) * h):
        slope = (net.logp(x + step, 0.3) - net.logp(x - step, 0.3)) / (2 * h)
        torch.testing.assert_close(net.score(x, 0.3)[:, i], slope, rtol=1e-6, atol=1e-7)


def test_denoiser_follows_from_the_score(net, golden):
    x = golden("toy2d")["mlp/x"]
    for sigma in (0.3, torch.linspace(0.1, 2, len(x))):
        expected = x + torch.as_tensor(sigma).reshape(-1, 1) ** 2 * net.score(x, sigma)
        torch.testing.assert_close(net(x[..., None, None], sigma).flatten(1), expected)


def test_without_gain_it_is_a_normal_distribution():
    net, x = Energy(1, 2, 0, NetworkConfig(model_channels=8)).requires_grad_(False), torch.randn(5, 2)
    assert net.gain < 0  # where training starts: an energy, below the normal distribution's
    net.gain.zero_()
    torch.testing.assert_close(net.score(x, 0.5), -x / (0.5**2 + 0.5**2))


def test_score_can_be_trained():
    net, x = Energy(1, 2, 0, NetworkConfig(model_channels=8)), torch.randn(5, 2)
    net.gain.data.fill_(0.5)
    net.score(x, 0.5).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())


@pytest.mark.parametrize("shape", [(8, 2, 0), (1, 2, 10)])
def test_images_and_labels_are_refused(shape):
    with pytest.raises(UserError, match="single points of one class"):
        Energy(*shape, NetworkConfig(model_channels=8))
