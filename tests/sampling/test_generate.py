"""Batches of one size, labels, and memory that runs out."""

import pytest
import torch

from edm2lite.config import SamplerConfig
from edm2lite.errors import UserError
from edm2lite.sampling.generate import Job, generate
from tests.guidance.gaussian import Gaussian


def job(denoiser=lambda seeds: Gaussian(0.5), batch_size=4, **settings):
    arguments = {"shape": (1, 4, 4), "label_dim": 3, "sampler": SamplerConfig(num_steps=3), "decode": decode} | settings
    return Job(denoiser=denoiser, batch_size=batch_size, **arguments)


def decode(images):
    return (images * 100).to(torch.uint8)


def test_the_denoiser_and_the_decoder_always_see_whole_batches():
    sizes = {"seeds": [], "decoded": []}

    def denoiser(seeds):
        sizes["seeds"].append(list(seeds))
        return Gaussian(0.5)

    def counting(images):
        sizes["decoded"].append(len(images))
        return decode(images)

    batches = list(generate(job(denoiser, decode=counting), range(6)))
    assert sizes == {"seeds": [[0, 1, 2, 3], [4, 5, 5, 5]], "decoded": [4, 4]}
    assert [b.seeds for b in batches] == [[0, 1, 2, 3], [4, 5]]
    assert [len(x) for b in batches for x in (b.images, b.pixels, b.labels)] == [4, 4, 4, 2, 2, 2]


def test_labels_uniform_by_seed_balanced_or_fixed():
    labels = lambda **how: torch.cat([b.labels for b in generate(job(**how), range(300))])  # noqa: E731
    uniform = labels()
    assert set(uniform.tolist()) == {0, 1, 2} and uniform.bincount().min() > 60
    assert torch.equal(uniform[:8], next(generate(job(batch_size=8), range(8))).labels)
    assert labels(labels="balanced").tolist() == [seed % 3 for seed in range(300)]
    assert labels(label=2).tolist() == [2] * 300
    assert next(generate(job(label_dim=0), [0])).labels is None


def test_the_label_changes_neither_starting_noise_nor_churn():
    """Labels are drawn before the churn noise, so they are drawn even where they are not used."""
    churn = SamplerConfig(num_steps=3, S_churn=10)

    def final(**how):
        class Ignores(Gaussian):
            def __call__(self, x, sigma, labels=None):
                return super().__call__(x, sigma)

        return next(generate(job(lambda seeds: Ignores(0.5), sampler=churn, **how), range(4))).images

    assert torch.equal(final(), final(label=1)) and torch.equal(final(), final(labels="balanced"))


class Memory:
    """Denoisers that need more memory than there is for more than `most` samples at once."""

    def __init__(self, most, error):
        self.most, self.error, self.asked = most, error, []

    def __call__(self, seeds):
        self.asked.append(len(seeds))
        if len(seeds) > self.most:
            raise self.error
        return Gaussian(0.5)


ERRORS = [
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
]


@pytest.mark.parametrize("error", ERRORS)
def test_out_of_memory_halves_the_batch_once_and_says_so(error, capsys):
    memory, told = Memory(2, error), []
    batches = list(generate(job(memory, batch_size=4), range(5), told.append))
    assert memory.asked == [4, 2, 2, 2] and told == [2]
    assert [seed for b in batches for seed in b.seeds] == [0, 1, 2, 3, 4]
    assert "batch_size is now 2" in capsys.readouterr().out
    whole = torch.cat([b.images for b in generate(job(batch_size=4), range(5))])
    torch.testing.assert_close(torch.cat([b.images for b in batches]), whole, rtol=0, atol=1e-4)


def test_out_of_memory_twice_is_an_error_with_the_way_out():
    said = r"out of memory with batch_size 2; set a smaller --batch_size \(torch said: CUDA out of memory\)"
    with pytest.raises(UserError, match=said):
        list(generate(job(Memory(1, ERRORS[0]), batch_size=4), range(5)))


def test_other_errors_keep_their_traceback():
    with pytest.raises(RuntimeError, match="shapes"):
        list(generate(job(Memory(0, RuntimeError("shapes do not fit"))), range(2)))


def test_images_that_are_not_finite_are_an_error():
    with pytest.raises(UserError, match="images of seeds 0-1 are not finite; lower the guidance weight"):
        list(generate(job(lambda seeds: lambda x, sigma, labels: x * float("nan")), range(2)))
