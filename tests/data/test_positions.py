"""Order and noise of training are functions of (seed, position)."""

import itertools

import numpy as np
import pytest
import scipy.stats
import torch

from edm2lite.config import DataConfig, EncodeConfig
from edm2lite.data.datasets import load_dataset
from edm2lite.data.positions import PositionDataset, PositionSampler
from edm2lite.data.prepare.encode import encode


def dataset(seed=0, nu=None):
    return PositionDataset(load_dataset(DataConfig(name="digits")), seed, nu)


def test_ranks_split_a_step_and_a_resume_goes_on():
    whole = list(itertools.islice(PositionSampler(0, 12, 0, 1), 4))
    assert list(itertools.chain(*whole)) == list(range(48))
    ranks = [list(itertools.islice(PositionSampler(2, 12, rank, 3), 2)) for rank in range(3)]
    assert [list(itertools.chain(*(r[step] for r in ranks))) for step in range(2)] == whole[2:]


def test_every_image_once_an_epoch_in_another_order():
    data = dataset()
    n = len(data.dataset)
    epochs = [[data.index(epoch * n + i) for i in range(n)] for epoch in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(n)) and epochs[0] != epochs[1]
    other = dataset(seed=1)
    assert [other.index(i) for i in range(n)] != epochs[0]


@pytest.mark.parametrize("nu", [None, 5.0])
def test_a_batch_depends_on_its_positions_alone(nu):
    whole = dataset(nu=nu).__getitems__(list(range(100, 116)))
    parts = [dataset(nu=nu).__getitems__([p]) for p in range(100, 116)]
    for field, values in zip(whole._fields, whole, strict=True):
        assert torch.equal(values, torch.cat([getattr(part, field) for part in parts])), field
    assert not torch.equal(whole.noise, dataset(seed=1, nu=nu).__getitems__(list(range(100, 116))).noise)


def test_noise_is_unit_normal_and_independent():
    batch = dataset().__getitems__(list(range(4000)))
    assert abs(float(batch.noise.mean())) < 0.01 and abs(float(batch.noise.std()) - 1) < 0.01
    assert abs(float(batch.normals.std()) - 1) < 0.05
    first = batch.noise[:, 0, 0, 0].numpy()
    assert abs(np.corrcoef(first, batch.normals.numpy())[0, 1]) < 0.06
    assert abs(np.corrcoef(first[1:], first[:-1])[0, 1]) < 0.06
    assert len(batch.keys.unique()) == 4000


def test_heavy_tails_are_one_factor_an_image_and_change_nothing_else():
    gauss, heavy = (dataset(nu=nu).__getitems__(list(range(500))) for nu in (None, 5.0))
    for field in ("images", "labels", "normals", "keys"):
        assert torch.equal(getattr(gauss, field), getattr(heavy, field)), field
    factor = heavy.noise.flatten(1).norm(dim=1) / gauss.noise.flatten(1).norm(dim=1)
    torch.testing.assert_close(heavy.noise, gauss.noise * factor.reshape(-1, 1, 1, 1))
    kappa = 1 / factor.double() ** 2
    assert scipy.stats.kstest(5 * kappa, scipy.stats.chi2(5).cdf).pvalue > 1e-3
    assert abs(np.corrcoef(kappa, gauss.noise.flatten(1).norm(dim=1))[0, 1]) < 0.15
    assert abs(np.corrcoef(kappa, gauss.normals)[0, 1]) < 0.15


@pytest.mark.parametrize("nu", [3.0, 5.0])
def test_heavy_tailed_noise_is_multivariate_student_t(nu):
    """|n|^2 / d of such noise is F-distributed with d and nu degrees of freedom, each element Student's t."""
    noise = dataset(nu=nu).__getitems__(list(range(3000))).noise.double()
    radius = (noise**2).mean(dim=(1, 2, 3))
    assert scipy.stats.kstest(radius, scipy.stats.f(64, nu).cdf).pvalue > 1e-3
    assert scipy.stats.kstest(noise[:, 0, 3, 4], scipy.stats.t(nu).cdf).pvalue > 1e-3
    assert scipy.stats.kstest(radius, scipy.stats.chi2(64, scale=1 / 64).cdf).pvalue < 1e-9, (
        "the test tells the two apart"
    )


def test_with_many_degrees_of_freedom_noise_is_gaussian():
    gauss, nearly = (dataset(nu=nu).__getitems__(list(range(50))).noise for nu in (None, 1e8))
    torch.testing.assert_close(nearly, gauss, rtol=2e-3, atol=0)


def test_the_layout_does_not_matter(packed, zipped):
    batches = [
        PositionDataset(load_dataset(DataConfig(path=str(p))), 0).__getitems__([3, 70, 5]) for p in (packed, zipped)
    ]
    assert all(torch.equal(a, b) for a, b in zip(*batches, strict=True)) and batches[0].images.shape == (3, 3, 32, 32)


@pytest.mark.parametrize("layout", ["packed", "zipped"])
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_read_the_same(layout, start, request):
    data = PositionDataset(load_dataset(DataConfig(path=str(request.getfixturevalue(layout)))), 0)
    steps = list(itertools.islice(PositionSampler(0, 12, 0, 1), 3))
    loader = torch.utils.data.DataLoader(
        data,
        batch_sampler=steps,
        collate_fn=_whole,
        num_workers=2,
        multiprocessing_context=start,
    )
    for step, batch in zip(steps, loader, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(batch, data.__getitems__(step), strict=True))


def _whole(batch):
    return batch


@pytest.mark.filterwarnings("ignore")
def test_latents_get_noise_of_their_own_shape(packed, vae, tmp_path):
    encode(EncodeConfig(source=str(packed), dest=str(tmp_path / "a"), vae=vae, device="cpu"))
    batch = PositionDataset(load_dataset(DataConfig(path=str(tmp_path / "a"))), 0).__getitems__([0, 1])
    assert batch.images.shape == batch.noise.shape == (2, 4, 4, 4)
