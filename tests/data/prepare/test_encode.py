"""Latents: shares of several ranks, statistics, layouts; through a tiny random VAE."""

import json
import os
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
import torch

from edm2lite.config import ConvertConfig, DataConfig, EncodeConfig
from edm2lite.data.datasets import load_dataset, open_stored
from edm2lite.data.encoders import VAEEncoder, make_encoder
from edm2lite.data.prepare import encode as module
from edm2lite.data.prepare.convert import convert
from edm2lite.data.prepare.encode import encode
from edm2lite.errors import UserError
from tests.data.conftest import CLASSES, SIZE
from tests.data.prepare.test_convert import content

pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers


def config(source, dest, vae, **options):
    return EncodeConfig(
        **{"source": str(source), "dest": str(dest), "vae": vae, "device": "cpu", "batch_size": 4} | options
    )


@pytest.fixture(scope="session")
def whole(packed, vae, tmp_path_factory):
    """Encoded by one process, in the chunks of `small_chunks`."""
    dest = tmp_path_factory.mktemp("latents") / "whole"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(action="ignore"):
        patch.setattr("edm2lite.data.prepare.encode.CHUNK", 7)
        encode(config(packed, dest, vae))
    return dest


def ranks(monkeypatch, count, order):
    """Ranks of a launcher, one after the other."""
    monkeypatch.setenv("WORLD_SIZE", str(count))
    for rank in order:
        monkeypatch.setenv("RANK", str(rank))
        yield rank
    monkeypatch.delenv("RANK")


def test_moments_labels_and_spec(whole, packed, vae):
    data, images = open_stored(str(whole)), open_stored(str(packed))
    assert data.shape == (60, 8, SIZE // 8, SIZE // 8) and data.dtype == np.float32
    assert (data.img_channels, data.img_resolution) == (4, SIZE // 8) and data.encoder == {"name": "vae"}
    assert np.array_equal(data.labels, images.labels) and data.classes == CLASSES
    with torch.no_grad():
        expected = VAEEncoder(vae).moments(torch.from_numpy(np.stack([images.raw(i) for i in (0, 33, 59)])))
    np.testing.assert_allclose(np.stack([data.raw(i) for i in (0, 33, 59)]), expected.numpy(), atol=1e-5)
    assert {p.suffix for p in whole.iterdir()} == {".npy", ".json"} and not list(whole.glob("chunk*"))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_three_ranks_make_the_same(whole, packed, vae, tmp_path, small_chunks, monkeypatch, order, capsys):
    for _ in ranks(monkeypatch, 3, order):
        encode(config(packed, tmp_path / "shared", vae))
    assert content(tmp_path / "shared") == content(whole)
    assert capsys.readouterr().out.count("the rank that ends last completes the dataset") == 2


@pytest.mark.slow
def test_ranks_at_once_make_the_same_zip(whole, packed, vae, tmp_path):
    program = "import edm2lite.data.prepare.encode as e, sys; from edm2lite.cli import DATA, main; e.CHUNK = 7;"
    program += "sys.exit(main(DATA, 'data', sys.argv[1:]))"
    arguments = [f"--source={packed}", f"--dest={tmp_path / 'a.zip'}", f"--vae={vae}", "--device=cpu", "--batch_size=4"]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, "encode", *arguments],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"},
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=100) for process in processes] == [0, 0]
    assert not (tmp_path / "a.zip.partial").exists()
    data, other = open_stored(str(tmp_path / "a.zip")), open_stored(str(whole))
    assert np.array_equal(data.labels, other.labels)
    for i in range(60):
        np.testing.assert_allclose(data.raw(i), other.raw(i), atol=1e-5, err_msg="other numbers of threads")
    with zipfile.ZipFile(tmp_path / "a.zip") as f:
        assert f.namelist()[59:] == ["00000/img00000059.npy", "dataset.json"]


def test_interrupted_and_resumed(whole, packed, vae, tmp_path, small_chunks, monkeypatch):
    """Dies in the third chunk; the next run, with other numbers of ranks, does not repeat the first two."""
    original, calls = module.encode_images, []

    def dies(source, images, *rest):
        calls.append(images.start)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(source, images, *rest)

    monkeypatch.setattr(module, "encode_images", dies)
    with pytest.raises(KeyboardInterrupt):
        encode(config(packed, tmp_path / "again", vae))
    with pytest.raises(UserError, match=r"dataset\.json.*run the same command again"):
        open_stored(str(tmp_path / "again"))
    with pytest.raises(UserError, match="made with dtype = 'fp32', but this command has 'fp16'"):
        encode(config(packed, tmp_path / "again", vae, dtype="fp16"))
    encode(config(packed, tmp_path / "again", vae))
    assert calls[3:] == [14, 21, 28, 35, 42, 49, 56] and content(tmp_path / "again") == content(whole)


def test_a_zip_killed_while_it_is_packed_up(packed, vae, tmp_path, small_chunks, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(module, "_pack_up", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            encode(config(packed, tmp_path / "a.zip", vae))
    with monkeypatch.context() as patch:
        patch.setattr(module, "encode_images", lambda *_: pytest.fail("encoded again"))
        encode(config(packed, tmp_path / "a.zip", vae))
    assert len(open_stored(str(tmp_path / "a.zip"))) == 60


def test_half_precision(whole, packed, vae, tmp_path):
    encode(config(packed, tmp_path / "half", vae, dtype="fp16"))
    data, single = open_stored(str(tmp_path / "half")), open_stored(str(whole))
    assert data.dtype == np.float16 and np.array_equal(data.raw(7), single.raw(7).astype(np.float16))


def test_measured_statistics_bring_latents_to_sigma_data(packed, vae, tmp_path, small_chunks):
    encode(config(packed, tmp_path / "a", vae, statistics="measured"))
    data = load_dataset(DataConfig(path=str(tmp_path / "a")))
    encoder, generator = make_encoder(data.encoder, vae), torch.Generator().manual_seed(0)
    moments = torch.from_numpy(np.stack([data[i][0] for i in range(60)])).repeat(50, 1, 1, 1)
    latents = encoder.encode(moments, noise=torch.randn(3000, 4, 4, 4, generator=generator))
    assert latents.mean((0, 2, 3)).abs().max() < 0.01
    torch.testing.assert_close(latents.std((0, 2, 3)), torch.full((4,), 0.5), rtol=0.01, atol=0)
    raw = moments.double()
    law = (raw[:, :4].var((0, 2, 3), correction=0) + raw[:, 4:].square().mean((0, 2, 3))).sqrt()
    torch.testing.assert_close(torch.tensor(data.encoder["raw_std"], dtype=torch.float64), law, rtol=0, atol=1e-6)
    with pytest.raises(UserError, match="a ZIP cannot hold"):
        convert(ConvertConfig(source=str(tmp_path / "a"), dest=str(tmp_path / "b.zip")))


def test_latents_pass_unchanged_between_layouts(whole, tmp_path):
    convert(ConvertConfig(source=str(whole), dest=str(tmp_path / "a.zip"), workers=1))
    convert(ConvertConfig(source=str(tmp_path / "a.zip"), dest=str(tmp_path / "b"), workers=1))
    first, last = open_stored(str(whole)), open_stored(str(tmp_path / "b"))
    assert all(np.array_equal(first.raw(i), last.raw(i)) for i in range(60)) and last.dtype == np.float32
    with pytest.raises(UserError, match="latents, which cannot be cropped"):
        convert(ConvertConfig(source=str(whole), dest=str(tmp_path / "c"), size=2))


def test_a_finished_one_is_left_alone(whole, packed, vae, capsys):
    encode(config(packed, whole, vae))
    assert "finished before" in capsys.readouterr().out
    with pytest.raises(UserError, match="is finished and was made with dtype"):
        encode(config(packed, whole, vae, dtype="fp16"))


def test_what_cannot_be_encoded(whole, packed, imagenet, vae, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="encode takes RGB images"):
        encode(config(whole, tmp_path / "a", vae))
    with pytest.raises(UserError, match="cannot hold them; give a folder"):
        encode(config(packed, tmp_path / "a.zip", vae, statistics="measured"))
    for size in (20, 36):
        convert(ConvertConfig(source=str(packed), dest=str(tmp_path / f"{size}"), size=size, workers=1))
        with pytest.raises(UserError, match=f"images of {size} pixels become .* multiple of its factor"):
            encode(config(tmp_path / f"{size}", tmp_path / f"latents{size}", vae))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.json").touch()
    with pytest.raises(UserError, match="holds other files"):
        encode(config(packed, tmp_path / "full", vae))
    with pytest.raises(UserError, match="device 'cuda:99' is not available"):
        encode(config(packed, tmp_path / "b", vae, device="cuda:99"))
    monkeypatch.setattr(
        VAEEncoder, "moments", lambda *_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory"))
    )
    with pytest.raises(UserError, match="out of memory on cpu with 4 images of 32 pixels; lower --batch_size"):
        encode(config(packed, tmp_path / "c", vae))


def test_which_vae_is_never_up_to_the_file(whole, vae, monkeypatch):
    """The specification has numbers alone; the path comes from the caller."""
    spec = json.loads((whole / "dataset.json").read_text())["encoder"]
    assert make_encoder(spec, vae).decode(torch.zeros(1, 4, 2, 2)).shape == (1, 3, 16, 16)
    with pytest.raises(UserError, match="allowed are numbers"):
        make_encoder(spec | {"vae": "/somewhere"})
