"""CLIP's similarity as a function for guidance, through a tiny random model and the real loading code."""

import json
import sys

import pytest
import torch

from edm2lite.config import GradientConfig, GuidanceConfig, ModelRef
from edm2lite.data.encoders import RGBEncoder
from edm2lite.errors import UserError
from edm2lite.guidance.clip import Preprocess, clip_similarity
from edm2lite.guidance.gradient import gradient_guided, make_function
from edm2lite.sampling.pair import load_pair
from tests.conftest import GOLDEN

open_clip = pytest.importorskip("open_clip")
NAME = "edm2lite-tiny"
CONFIG = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8},
    "text_cfg": {"context_length": 8, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    (folder / f"{NAME}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / f"{NAME}.json")
    torch.manual_seed(0)
    torch.save(open_clip.create_model(NAME).state_dict(), folder / "weights.pt")
    return str(folder / "weights.pt")


@pytest.fixture
def spec(weights):
    arguments = {"prompt": "a zebra", "model": NAME, "pretrained": weights}
    return GradientConfig(function="edm2lite.guidance.clip:clip_similarity", arguments=arguments, scale=1.0)


def similarity(weights, prompt="a zebra"):
    return clip_similarity(prompt, NAME, weights, to_pixels=RGBEncoder().unit, device="cpu")


def images(channels=3, size=16):
    noise = torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(3))
    return 0.9 * torch.tanh(noise)


def test_it_is_the_cosine_that_open_clip_computes(weights):
    model = open_clip.create_model(NAME, pretrained=weights).eval()
    x = images()
    mean, std = (
        torch.tensor(n).reshape(1, 3, 1, 1) for n in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    with torch.no_grad():
        image, text, _ = model(((x * 127.5 + 127.5) / 255 - mean) / std, open_clip.get_tokenizer(NAME)(["a zebra"]))
    torch.testing.assert_close(similarity(weights)(x, 1.0), (image @ text.T)[:, 0], rtol=1e-4, atol=1e-5)


def test_the_text_matters_and_grey_images_are_repeated(weights):
    x = images(channels=1, size=8)
    grey = similarity(weights)(x, 1.0)
    torch.testing.assert_close(grey, similarity(weights)(x.expand(-1, 3, -1, -1), 1.0))
    assert not torch.allclose(grey, similarity(weights, "a green pear")(x, 1.0), atol=1e-3)


def test_resizing_keeps_an_even_image_even():
    class Visual:
        image_size, image_mean, image_std = 16, (0.1, 0.2, 0.3), (0.5, 0.5, 1.0)

    x = Preprocess(Visual(), "cpu")(torch.full((1, 1, 40, 40), 0.6))
    torch.testing.assert_close(x, torch.tensor([1.0, 0.8, 0.3]).reshape(1, 3, 1, 1).expand(1, 3, 16, 16))


def test_the_gradient_is_that_of_finite_differences(weights):
    f, x = similarity(weights), images(channels=1, size=8).requires_grad_()
    gradient = torch.autograd.grad(f(x, 1.0).sum(), x)[0]
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        numeric = (f(x + 1e-2 * direction, 1.0) - f(x - 1e-2 * direction, 1.0)) / 2e-2
    torch.testing.assert_close((gradient * direction).sum(dim=(1, 2, 3)), numeric, rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("through", ["network", "denoised"])
def test_guided_images_are_more_similar(spec, through):
    function = make_function(spec, RGBEncoder().unit, "cpu")
    x, sigma = images(channels=1, size=8), 0.5

    def denoise(x, sigma, labels=None):
        return 0.5 * x

    with torch.no_grad():
        main, guided = (gradient_guided(denoise, function, scale, through)(x, sigma) for scale in (0.0, 5.0))
        assert (function(guided, sigma) > function(main, sigma) + 0.005).all()


def test_the_identity_of_a_pair_holds_the_weights(weights, tmp_path):
    state = torch.load(weights)
    state["visual.proj"] = state["visual.proj"] + 1e-3
    torch.save(state, tmp_path / "other.pt")
    hashes = []
    for file in (weights, tmp_path / "other.pt", weights):
        arguments = {"prompt": "a zebra", "model": NAME, "pretrained": str(file)}
        gradient = GradientConfig(function="edm2lite.guidance.clip:clip_similarity", arguments=arguments, scale=1.0)
        main = ModelRef(path=str(GOLDEN / "snapshot-cond.pkl"))
        pair = load_pair(main, ModelRef(), GuidanceConfig(gradient=gradient), device="cpu")
        hashes.append(pair.identity()["gradient"]["weights_sha256"])
    assert hashes[0] == hashes[2] != hashes[1] and len(hashes[0]) == 64


def test_models_and_weights_that_are_not_there(weights, tmp_path):
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(b"nothing")
    arguments = {"to_pixels": RGBEncoder().unit, "device": "cpu"}
    with pytest.raises(UserError, match="open_clip has no model ViT-Z"):
        clip_similarity("a zebra", "ViT-Z", **arguments)
    with pytest.raises(UserError, match=r"weights nowhere cannot be loaded .*laion2b_s34b_b79k"):
        clip_similarity("a zebra", "ViT-B-32", "nowhere", **arguments)
    with pytest.raises(UserError, match=r"damaged.pt cannot be loaded"):
        clip_similarity("a zebra", NAME, str(damaged), **arguments)


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UserError, match=r"edm2lite\[clip\]"):
        clip_similarity("a zebra", to_pixels=RGBEncoder().unit, device="cpu")
