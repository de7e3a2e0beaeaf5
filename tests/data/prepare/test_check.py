"""The doctor's table and verdicts."""

import json

import numpy as np
import pytest
from PIL import Image

from edm2lite.config import CheckConfig, EncodeConfig
from edm2lite.data.packed import write_array, write_description
from edm2lite.data.prepare.check import check
from edm2lite.data.prepare.encode import encode
from edm2lite.data.prepare.verdicts import Facts, verdicts
from edm2lite.errors import UserError
from tests.data.conftest import SIZE

GOOD = {
    "images": 100_000, "read": 1000, "duplicates": 0, "counts": np.full(10, 10_000), "resolution": 64,
    "encoder": {"name": "rgb", "scale": 127.5}, "mean": np.zeros(3), "sigma": 0.51,
}  # fmt: skip


def text(**changes):
    return " ".join(" ".join(verdicts(Facts(**{**GOOD, **changes}))).split())


def test_good_data():
    assert "warning" not in text() and text().count("ok ") == 6
    assert "-0.8 and 1.6 (ImageNet of 64 pixels" in text() and "-0.4 and 1.0 (512-pixel" in text(
        encoder={"name": "vae"}
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"sigma": 0.7},
            "train with --network.sigma_data 0.70, or set the encoder's scale in a packed folder's dataset.json to 178.5",
        ),
        ({"sigma": 0.3, "encoder": {"name": "vae"}}, "or encode again with --statistics measured"),
        ({"sigma": 0.0}, "one constant"),
        ({"mean": np.array([0.0, -0.4])}, "a channel's mean is 0.40 away from 0"),
        ({"counts": np.zeros(0, int)}, "no labels: train with --data.conditional false"),
        ({"counts": np.array([5, 0, 5]), "classes": ["a", "b", "c"]}, "1 classes have no image (b)"),
        ({"counts": np.array([5000, 100])}, "the largest class has 50 times"),
        ({"duplicates": 7}, "7 of 1000 images read are copies"),
        ({"images": 2000}, "2000 images are few"),
    ],
)
def test_warnings_say_what_to_do(changes, message):
    assert f"{message}" in text(**changes) and text(**changes).count("warning ") == 1


def test_both_layouts_and_a_bundled_set(packed, zipped, tmp_path, capsys):
    sheets = []
    for options in ({"path": str(packed)}, {"path": str(zipped)}, {"name": "digits"}):
        check(CheckConfig(**options, out=str(tmp_path / "sheet.png"), images=50))
        sheets.append(Image.open(tmp_path / "sheet.png").convert("RGB"))
        out = capsys.readouterr().out
        assert "sigma_data     0." in out and "empty classes  0" in out and "images are few" in out
    assert sheets[0].tobytes() == sheets[1].tobytes() and "1797, stored as uint8 [1, 8, 8]" in out


def test_the_numbers(tmp_path, capsys):
    """Two channels' worth of known moments, an empty class, a copy."""
    rng = np.random.default_rng(0)
    images = np.clip(rng.normal(127.5, 63.75, (100, 3, 8, 8)), 0, 255).round().astype(np.uint8)
    images[7] = images[3]
    write_array(tmp_path / "images-00000.npy", images)
    write_array(tmp_path / "labels.npy", np.arange(100) % 2 * 2)
    spec = {"name": "rgb", "scale": 127.5}
    write_description(tmp_path, {"images-00000.npy": 100}, (3, 8, 8), "uint8", 3, spec, ["a", "b", "c"], {})
    check(CheckConfig(path=str(tmp_path), out=str(tmp_path / "sheet.png")))
    out = capsys.readouterr().out
    scaled = (images - 127.5) / 127.5
    for i in range(3):
        assert f"channel {i}      mean {scaled[:, i].mean():+.3f}, std {scaled[:, i].std():.3f}" in out
    assert f"sigma_data     {scaled.std():.3f} measured on 100 images" in out
    assert "a class has    0 to 50 images, median 50" in out and "no image (b)" in out
    assert "duplicates     1 among the 100 images read" in out


@pytest.mark.filterwarnings("ignore")
def test_latents_with_and_without_a_vae(packed, vae, tmp_path, capsys):
    encode(EncodeConfig(source=str(packed), dest=str(tmp_path / "a"), vae=vae, statistics="measured", device="cpu"))
    check(CheckConfig(path=str(tmp_path / "a"), out=str(tmp_path / "a.png")))
    out = capsys.readouterr().out
    assert "ok       sigma_data is 0." in out and "first 3 channels" in out and "network sees   [4, 4, 4]" in out
    check(CheckConfig(path=str(tmp_path / "a"), out=str(tmp_path / "b.png"), vae=vae))
    assert Image.open(tmp_path / "b.png").size == (4 * (2 * SIZE + 2) + 2,) * 2, "pixels again"


def test_what_cannot_be_used(packed, tmp_path):
    for options, message in (
        ({"name": "digist"}, "choose one of: digits, patches"),
        ({"path": str(tmp_path / "none")}, "does not exist"),
        ({"path": str(packed), "out": "sheet.jpg"}, r"must end in \.png"),
    ):
        with pytest.raises(UserError, match=message):
            check(CheckConfig(**options))
    write_array(tmp_path / "images-00000.npy", np.full((2, 8, 2, 2), np.inf, np.float32))
    write_description(tmp_path, {"images-00000.npy": 2}, (8, 2, 2), "float32", 0, {"name": "vae"}, None, {})
    with pytest.raises(UserError, match="not finite"):
        check(CheckConfig(path=str(tmp_path), out=str(tmp_path / "a.png")))
    write_array(tmp_path / "labels.npy", np.array([0, 5]))
    data = json.loads((tmp_path / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps(data | {"label_dim": 3}))
    with pytest.raises(UserError, match=r"labels 0 \.\.\. 5 but 3 classes"):
        check(CheckConfig(path=str(tmp_path), out=str(tmp_path / "a.png")))
