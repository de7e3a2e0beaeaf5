"""DINOv2 against the hub's formulas, written out, and against timm with the hub's position embedding, at a tiny size."""

import copy
import math

import numpy as np
import pytest
import torch

from edm2lite.evaluation.detectors.dinov2 import MEAN, STD, DINOv2, preprocess
from tests.evaluation.detectors.random_weights import random_images, randomise

TINY = {"dim": 32, "depth": 2, "heads": 4, "patch": 4, "trained": 9, "resolution": 16}


@pytest.fixture(scope="module")
def net():
    net = DINOv2(**TINY)
    randomise(net)
    return net.eval().requires_grad_(False)


def cubic(x, a):
    """Keys's kernel."""
    x = np.abs(x)
    near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def without_antialiasing(length, size, scale):
    """Matrix [size, length]: pixels around (i + 1/2) / scale - 1/2, repeated at the border; a = -0.75."""
    matrix = np.zeros((size, length))
    for i in range(size):
        at = (i + 0.5) / scale - 0.5
        for j in range(math.floor(at) - 1, math.floor(at) + 3):
            matrix[i, min(max(j, 0), length - 1)] += cubic(at - j, -0.75)
    return matrix


def antialiased(length, size):
    """Matrix [size, length]: the kernel (a = -0.5) widened when shrinking, its weights normalised over the pixels there are."""
    wide, matrix = max(length / size, 1), np.zeros((size, length))
    for i in range(size):
        at = (i + 0.5) * length / size
        j = np.arange(max(int(at - 2 * wide + 0.5), 0), min(int(at + 2 * wide + 0.5), length))
        weights = cubic((j + 0.5 - at) / wide, -0.5)
        matrix[i, j] = weights / weights.sum()
    return matrix


def hub_positions(net):
    """As the hub: bicubic, not antialiased, at scale (side + 0.1) / trained; float64."""
    table = net.pos_embed[0].double().numpy()
    m = without_antialiasing(9, 4, 4.1 / 9)
    grid = np.einsum("ip,jq,pqc->ijc", m, m, table[1:].reshape(9, 9, 32))
    return torch.from_numpy(np.concatenate([table[:1], grid.reshape(16, 32)]))


def hub_features(net, images):
    """The hub's forward in float64, from the state dict alone."""
    p = {name: tensor.double() for name, tensor in net.state_dict().items()}

    def normalised(x, name):
        x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-6).sqrt()
        return x * p[f"{name}.weight"] + p[f"{name}.bias"]

    def linear(x, name):
        return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]

    def attention(x, name):
        q, k, v = linear(x, f"{name}.qkv").reshape(*x.shape[:2], 3, 4, 8).unbind(2)  # [B, N, heads, 8] each
        weights = (torch.einsum("bihc,bjhc->bhij", q, k) / 8**0.5).softmax(-1)
        return linear(torch.einsum("bhij,bjhc->bihc", weights, v).reshape(x.shape), f"{name}.proj")

    def perceptron(x, name):
        x = linear(x, f"{name}.fc1")
        return linear(x * (1 + torch.erf(x / 2**0.5)) / 2, f"{name}.fc2")

    pixels = preprocess(images, 16).double().reshape(len(images), 3, 4, 4, 4, 4)
    patches = torch.einsum("bcyixj,dcij->byxd", pixels, p["patch_embed.proj.weight"]).reshape(len(images), 16, 32)
    patches = patches + p["patch_embed.proj.bias"]
    x = torch.cat([p["cls_token"].expand(len(images), 1, 32), patches], 1) + hub_positions(net)
    for i in range(2):
        b = f"blocks.{i}"
        x = x + p[f"{b}.ls1.gamma"] * attention(normalised(x, f"{b}.norm1"), f"{b}.attn")
        x = x + p[f"{b}.ls2.gamma"] * perceptron(normalised(x, f"{b}.norm2"), f"{b}.mlp")
    return normalised(x, "norm")[:, 0]


def test_position_embedding_is_resampled_as_by_the_hub(net):
    torch.testing.assert_close(net.positions()[0].double(), hub_positions(net), rtol=0, atol=1e-6)


@pytest.mark.parametrize("scale", [1, 0.01])  # small activations show the constants of the normalisations
def test_features_are_the_hubs(net, scale):
    images, net = random_images(3, 3, 24, 20), copy.deepcopy(net)
    for name, parameter in net.named_parameters():
        if name.endswith(("gamma", "cls_token", "pos_embed")) or name.startswith("patch_embed"):
            parameter.mul_(scale)
    torch.testing.assert_close(net(images).double(), hub_features(net, images), rtol=0, atol=1e-5)


def test_features_are_timms_with_the_hubs_position_embedding(net):
    room = pytest.importorskip("timm.models.vision_transformer")
    timm = room.VisionTransformer(
        img_size=16,
        patch_size=4,
        embed_dim=32,
        depth=2,
        num_heads=4,
        num_classes=0,
        init_values=1.0,
        global_pool="token",
    )
    state = {k: v for k, v in net.state_dict().items() if k != "mask_token"} | {"pos_embed": net.positions()}
    timm.load_state_dict(state)
    images = random_images(3, 3, 24, 20)
    with torch.no_grad():
        torch.testing.assert_close(net(images), timm.eval()(preprocess(images, 16)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(37, 50), (11, 16), (10, 7)])
def test_preprocessing_to_the_pixel(shape):
    images = random_images(2, 3, *shape)
    resized = np.einsum(
        "ip,jq,bcpq->bcij", antialiased(shape[0], 16), antialiased(shape[1], 16), images.double().numpy()
    )
    expected = (resized / 255 - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
    np.testing.assert_allclose(preprocess(images, 16).numpy(), expected, rtol=0, atol=1e-5)


def test_overshoot_survives():
    edges = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    edges[..., 8:24] = 255
    x = preprocess(edges, 64) * torch.tensor(STD).reshape(3, 1, 1) + torch.tensor(MEAN).reshape(3, 1, 1)
    assert x.min() * 255 < -5 and x.max() * 255 > 260


def test_batch_mates_grey_and_autocast_change_nothing(net):
    images = random_images(3, 1, 20, 24)
    features = net(images.expand(-1, 3, -1, -1))
    assert features.dtype == torch.float32 and features.shape == (3, 32)
    assert torch.equal(net(images), features)
    others = torch.cat([images[:1], random_images(2, 1, 20, 24, seed=1)])
    assert torch.equal(net(others)[0], features[0]) and not torch.equal(net(others)[1], features[1])
    torch.testing.assert_close(net(images[2:]), features[2:], rtol=0, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(net(images), features)


def test_the_full_size_is_vit_l_14():
    """Names and shapes of the hub's file, as documented."""
    with torch.device("meta"):
        net = DINOv2()
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    vector, square = (1024,), (1024, 1024)
    block = {
        "norm1.weight": vector, "norm1.bias": vector,
        "attn.qkv.weight": (3072, 1024), "attn.qkv.bias": (3072,), "attn.proj.weight": square, "attn.proj.bias": vector,
        "ls1.gamma": vector,
        "norm2.weight": vector, "norm2.bias": vector,
        "mlp.fc1.weight": (4096, 1024), "mlp.fc1.bias": (4096,), "mlp.fc2.weight": (1024, 4096), "mlp.fc2.bias": vector,
        "ls2.gamma": vector,
    }  # fmt: skip
    outside = {
        "cls_token": (1, 1, 1024), "pos_embed": (1, 1370, 1024), "mask_token": (1, 1024),
        "patch_embed.proj.weight": (1024, 3, 14, 14), "patch_embed.proj.bias": vector,
        "norm.weight": vector, "norm.bias": vector,
    }  # fmt: skip
    assert shapes == outside | {f"blocks.{i}.{name}": shape for i in range(24) for name, shape in block.items()}
    assert sum(tensor.numel() for tensor in net.state_dict().values()) == 304_368_640
    assert (net.dim, net.title, net.preprocessing, net.side) == (1024, "dinov2-vitl14", "bicubic-antialias-224", 16)
