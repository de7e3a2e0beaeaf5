"""Randomness belongs to the seed."""

import torch

from edm2lite import seeded_noise
from edm2lite.sampling.seeded import SeededStreams


def test_published_noise_and_labels_bitwise(golden, meta):
    g = golden("sampler")
    noise, labels = seeded_noise(meta["sampler"]["seeds"], (3, 16, 16), 10)
    assert torch.equal(noise, g["noise"]) and torch.equal(labels, g["class_idx"])


def test_no_classes_no_labels():
    noise, labels = seeded_noise([1, 2], (1, 8, 8))
    assert noise.shape == (2, 1, 8, 8) and labels is None
    assert torch.equal(noise, seeded_noise([1, 2], (1, 8, 8), 10)[0]), "labels do not disturb the noise"


def test_batch_and_order_do_not_matter():
    seeds = list(range(20))
    noise, labels = seeded_noise(seeds, (2, 4, 4), 7)
    order = torch.randperm(20, generator=torch.Generator().manual_seed(0)).tolist()
    shuffled, shuffled_labels = seeded_noise([seeds[i] for i in order], (2, 4, 4), 7)
    assert torch.equal(shuffled, noise[order]) and torch.equal(shuffled_labels, labels[order])


def test_fresh_noise_follows_the_seed_too():
    a, b = SeededStreams([5, 6, 7]), SeededStreams([7])
    for _ in range(3):
        x = a.randn((1, 2, 2))
        assert torch.equal(b.randn_like(x[:1]), x[2:])


def test_torchs_default_device_does_not_matter():
    expected = seeded_noise([1, 2], (1, 8, 8), 10)
    with torch.device("meta"):
        drawn = seeded_noise([1, 2], (1, 8, 8), 10)
        fresh = SeededStreams([1, 2]).randn_like(expected[0])
    assert all(torch.equal(a, b) for a, b in zip(drawn, expected, strict=True)) and fresh.device.type == "cpu"
