"""Folders, ZIPs and NPZs: the same bytes whoever writes what, and whatever is interrupted."""

import hashlib
import os
import subprocess
import sys
import threading
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from edm2lite.data.zipped import ZipDataset
from edm2lite.errors import UserError
from edm2lite.sampling.generate import Samples
from edm2lite.sampling.images import LATENTS, PIXELS
from edm2lite.sampling.npz import NpzRows
from edm2lite.sampling.stores import ArchiveStore, contents, on_host, open_store
from tests.conftest import ROOT

FORMATS = ["png", "zip", "npz"]


def made(seeds, channels=1, labelled=True, side=8):
    """What a model would make of seeds."""
    images = torch.stack([torch.randn(channels, side, side, generator=torch.Generator().manual_seed(s)) for s in seeds])
    pixels = (images * 127.5 + 128).clip(0, 255).to(torch.uint8)
    return Samples(list(seeds), images, pixels, torch.tensor([s % 10 for s in seeds]) if labelled else None)


def files(outdir):
    return {str(p.relative_to(outdir)): p.read_bytes() for p in sorted(outdir.rglob("*")) if p.is_file()}


def fill(outdir, form, batches, latents=True, **changes):
    store = open_store(outdir, form, latents)
    outdir.mkdir(exist_ok=True)
    for batch in batches:
        store.add(made(batch, **changes))
    store.complete()
    return store


ALL = [range(0, 4), range(4, 8), range(998, 1002)]
SEEDS = [seed for batch in ALL for seed in batch]


@pytest.fixture(scope="module", params=FORMATS)
def whole(request, tmp_path_factory):
    outdir = tmp_path_factory.mktemp("store")
    return request.param, outdir, fill(outdir, request.param, ALL)


def test_everything_is_kept(whole):
    form, _, store = whole
    expected = made(SEEDS)
    assert store.held() == set(SEEDS)
    for i, seed in enumerate(SEEDS):
        assert np.array_equal(store.images().array(seed), expected.pixels[i].numpy())
    content = store.images().content(5)
    pixels = expected.pixels[5].permute(1, 2, 0).numpy()
    assert content == (pixels.tobytes() if form == "npz" else PIXELS.encode(expected.pixels[5].numpy()))


@pytest.mark.parametrize("split", [[[1000, 3, 7], [0, 998, 5, 1], [6, 4], [999, 2, 1001]], [[s] for s in SEEDS[::-1]]])
def test_bytes_do_not_depend_on_who_made_what(split, whole, tmp_path):
    form, outdir, _ = whole
    fill(tmp_path / "out", form, split)
    assert files(tmp_path / "out") == files(outdir)


def test_a_complete_store_can_be_extended(whole, tmp_path):
    form, outdir, _ = whole
    out = tmp_path / "out"
    fill(out, form, ALL[1:])
    store = open_store(out, form, True)
    assert store.held() == set(SEEDS[4:])
    fill(out, form, ALL[:1])
    assert files(out) == files(outdir) and store.held() == set(SEEDS)
    open_store(out, form, True).complete()
    assert files(out) == files(outdir), "nothing to do"


@pytest.mark.parametrize("form", FORMATS)
def test_latents_asked_for_later_make_images_missing(form, tmp_path):
    fill(tmp_path, form, ALL, latents=False)
    store = open_store(tmp_path, form, True)
    assert store.held() == set() and open_store(tmp_path, form, False).held() == set(SEEDS)
    fill(tmp_path, form, [range(0, 4)])
    assert store.held() == {0, 1, 2, 3} and open_store(tmp_path, form, False).held() == set(SEEDS)


@pytest.mark.parametrize("form", ["zip", "npz"])
@pytest.mark.parametrize("fails_at", range(1, 7))
def test_an_interrupted_merge_is_begun_anew(form, fails_at, tmp_path, monkeypatch):
    """At any of: a temporary file written, the final file in place, a part removed."""
    fill(tmp_path / "whole", form, ALL)
    out = tmp_path / "out"
    out.mkdir()
    store = open_store(out, form, True)
    for batch in ALL:
        store.add(made(batch))
    calls = iter(range(1, 100))

    def dying(original):
        def call(*args, **kwargs):
            if next(calls) == fails_at:
                raise KeyboardInterrupt
            return original(*args, **kwargs)

        return call

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", dying(os.replace))
        patch.setattr(Path, "unlink", dying(Path.unlink))
        store.complete()
    assert store.held() == set(SEEDS)
    fill(out, form, [])
    assert files(out) == files(tmp_path / "whole")


def python(code, *arguments):
    """Another process, which ends with this one at the latest: its standard input closes."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip


def test_one_process_merges_and_if_it_is_killed_another_does(tmp_path):
    store = open_store(tmp_path, "zip", False)
    store.add(made([1, 2]))
    code = "import sys; from edm2lite.snapshots.once import one_at_a_time\n"
    code += "with one_at_a_time(sys.argv[1], ''): print('locked', flush=True); sys.stdin.read()"
    with python(code, tmp_path / ".lock") as other, ThreadPoolExecutor() as pool:
        assert other.stdout.readline() == "locked\n"
        completing = pool.submit(store.complete)
        with pytest.raises(TimeoutError):
            completing.result(0.2)
        assert not (tmp_path / "images.zip").exists()
        other.kill()
        completing.result(10)
    assert store.held() == {1, 2} and not (tmp_path / "parts").exists()
    store.complete()  # as another process that waited
    assert store.held() == {1, 2}


@pytest.mark.parametrize("before_listing", [True, False])
def test_parts_that_are_merged_meanwhile_are_not_missed(before_listing, tmp_path, monkeypatch):
    store = open_store(tmp_path, "zip", False)
    store.add(made([1, 2]))
    real = ArchiveStore._list

    def merged_meanwhile(self, kind):
        paths = real(self, kind)
        monkeypatch.setattr(ArchiveStore, "_list", real)
        open_store(tmp_path, "zip", False).complete()
        return real(self, kind) if before_listing else paths

    monkeypatch.setattr(ArchiveStore, "_list", merged_meanwhile)
    assert store.held() == {1, 2} and (tmp_path / "images.zip").exists()


def test_what_killed_processes_left_is_removed(tmp_path, left_by_the_dead):
    store = open_store(tmp_path, "zip", False)
    store.add(made([1]))
    alive, elsewhere = (f".images.zip.{name}.tmp" for name in (f"{os.uname().nodename}.1", "other.99999"))
    for name in (left_by_the_dead("images.zip"), alive, elsewhere):
        (tmp_path / name).touch()
        (tmp_path / "parts" / name).touch()
    store.complete()
    assert {p.name for p in tmp_path.iterdir()} == {"images.zip", "parts", ".lock", alive, elsewhere}
    assert {p.name for p in (tmp_path / "parts").iterdir()} == {alive, elsewhere}


def test_what_killed_processes_left_among_images_and_latents_is_removed(tmp_path, left_by_the_dead):
    fill(tmp_path, "png", [SEEDS])
    before = files(tmp_path)
    for folder in ("000000", "latents/001000"):
        (tmp_path / folder / left_by_the_dead("000001.png")).touch()
    open_store(tmp_path, "png", True).complete()
    assert files(tmp_path) == before


def test_encoding_in_threads_keeps_the_order(monkeypatch):
    monkeypatch.setattr("edm2lite.sampling.stores.cores", lambda: 4)
    batch, names = made(range(40), side=32), set()

    def encode(array):
        names.add(threading.current_thread().name)
        return LATENTS.encode(array)

    found = list(contents(batch, LATENTS._replace(encode=encode)))
    assert found == [LATENTS.encode(array) for array in batch.images.numpy()]
    assert threading.main_thread().name not in names


def test_what_is_kept_of_a_batch_is_what_is_copied(monkeypatch):
    monkeypatch.setattr("edm2lite.sampling.stores.to_host", lambda *tensors: lambda: [tensor + 1 for tensor in tensors])
    batch = made([3, 4])
    for latents in (False, True):
        copy = on_host(batch, latents)()
        assert copy.seeds == [3, 4] and copy.pixels.equal(batch.pixels + 1) and copy.labels.tolist() == [4, 5]
        assert copy.images.equal(batch.images + int(latents))
    assert on_host(made([3], labelled=False), False)().labels is None


def test_a_zip_is_a_dataset(tmp_path):
    fill(tmp_path, "zip", ALL, latents=False, channels=3)
    dataset = ZipDataset(tmp_path / "images.zip")
    assert len(dataset) == len(SEEDS) and dataset.label_dim == 10
    for i, seed in enumerate(SEEDS):
        image, label = dataset[i]
        assert np.array_equal(image, made([seed], channels=3).pixels[0].numpy()) and label == seed % 10
    with zipfile.ZipFile(tmp_path / "images.zip") as f:
        assert {info.compress_type for info in f.infolist()} == {zipfile.ZIP_STORED} and f.testzip() is None


@pytest.mark.parametrize("labelled", [True, False])
def test_npz_as_adm_reads_it(labelled, tmp_path):
    fill(tmp_path, "npz", ALL[::-1], channels=3, labelled=labelled)
    expected = made(SEEDS, channels=3)
    with np.load(tmp_path / "images.npz") as f:
        assert f["arr_0"].dtype == np.uint8 and np.array_equal(f["arr_0"], expected.pixels.permute(0, 2, 3, 1).numpy())
        assert f["seeds"].tolist() == SEEDS and ("arr_1" in f) == labelled
        if labelled:
            assert f["arr_1"].dtype == np.int64 and np.array_equal(f["arr_1"], expected.labels.numpy())
    with np.load(tmp_path / "latents.npz") as f:
        assert f["arr_0"].dtype == np.float32 and np.array_equal(f["arr_0"], expected.images.numpy())


@pytest.mark.parametrize("form", ["zip", "npz"])
def test_memory_holds_one_image_at_a_time(form, tmp_path):
    """Merging 80 images of 48 KiB, 4 MiB together, twice: of parts, then of the final file and a part."""
    store = open_store(tmp_path, form, False)
    for start in range(0, 80, 10):
        store.add(made(range(start, start + 10), channels=3, side=128))
    for _ in range(2):
        tracemalloc.start()
        store.complete()
        images = store.images()
        for seed in range(80):
            hashlib.sha256(images.content(seed))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 << 20, peak  # a buffer of 1 MiB among it
        store.add(made([80], channels=3, side=128))


def test_damage_is_found(tmp_path):
    store = fill(tmp_path, "zip", ALL, latents=False)
    content = store.images().content(5)
    path = tmp_path / "images.zip"
    data = path.read_bytes()
    path.write_bytes(data.replace(content, content[:-1] + b"?"))
    with pytest.raises(UserError, match="damaged at seed 5"):
        store.images().content(5)


def test_foreign_archives_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as f:
        f.writestr("thesis/1.png", b"x")
    with pytest.raises(UserError, match="is not ours"):
        open_store(tmp_path, "zip", False).held()
    np.savez_compressed(tmp_path / "a.npz", arr_0=np.zeros((2, 3, 3, 1), np.uint8))
    with pytest.raises(UserError, match="arr_0 is compressed"):
        NpzRows(tmp_path / "a.npz", PIXELS)
    np.savez(tmp_path / "b.npz", arr_0=np.zeros((2, 3), np.uint8))
    with pytest.raises(UserError, match=r"arr_0 is \[2, 3\]; it must be \[N, H, W, C\]"):
        NpzRows(tmp_path / "b.npz", PIXELS)
    (tmp_path / "c.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="no NPZ with images"):
        NpzRows(tmp_path / "c.npz", LATENTS)
