"""NVIDIA's layout, in archives written by hand."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
from PIL import Image

from edm2lite.data import zipindex
from edm2lite.data.prepare.pictures import as_member
from edm2lite.data.zipped import ZipDataset
from edm2lite.errors import UserError
from edm2lite.files import cache_dir

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)
NAMES = ["b/2.png", "a/1.png", "a/deep/3.PNG", 'c/quote"\u00e9.png', "0.png"]
ORDER = [4, 1, 2, 0, 3]  # as the names sort


def archive(path, members, labels="null", method=zipfile.ZIP_STORED, extra=()):
    """A ZIP with dataset.json in the middle."""
    with zipfile.ZipFile(path, "w", method) as f:
        for i, (name, content) in enumerate(members.items()):
            f.writestr(name, content)
            if i == 1 and labels is not None:
                f.writestr("dataset.json", labels)
        for name in extra:
            f.writestr(name, b"not looked at")
    return path


def pngs(images=PIXELS):
    return {name: as_member(image) for name, image in zip(NAMES, images, strict=True)}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("escaped", [True, False])
def test_png_with_labels_in_any_order(tmp_path, method, escaped):
    labels = json.dumps({"x": 1, "labels": [[name, i] for i, name in enumerate(NAMES)]}, ensure_ascii=escaped, indent=1)
    data = ZipDataset(archive(tmp_path / "my.zip", pngs(), labels, method, extra=["README.txt", "d/"]))
    assert (data.name, len(data), data.img_channels, data.img_resolution, data.label_dim) == ("my", 5, 3, 4, 5)
    assert data.encoder == {"name": "rgb", "scale": 127.5}
    for i, original in enumerate(ORDER):
        assert np.array_equal(data[i][0], PIXELS[original]) and data[i][1] == original == data.labels[i]
        assert data.member(i) == NAMES[original]


@pytest.mark.parametrize("labels", ["null", None, '{"labels": null}'])
def test_without_labels(tmp_path, labels):
    if labels == "null":
        labels = '{ "labels" :null }'
    data = ZipDataset(archive(tmp_path / "a.zip", pngs(), labels))
    assert data.label_dim == 0 and data[3][1] == 0 and not data.labels.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_latents_whatever_numpy_wrote_them(tmp_path, dtype):
    moments, members = RNG.standard_normal((3, 8, 2, 2)).astype(dtype), {}
    for i, image in enumerate(moments):
        file = io.BytesIO()
        np.save(file, np.asfortranarray(image) if i == 1 else image)
        members[f"00000/img{i:08d}.npy"] = file.getvalue()
    data = ZipDataset(archive(tmp_path / "a.zip", members, '{"labels": null}'))
    assert (data.img_channels, data.img_resolution, data.dtype) == (4, 2, dtype) and data.encoder == {"name": "vae"}
    assert all(np.array_equal(data[i][0], moments[i]) for i in (2, 1, 0))
    assert data[0][0].flags.writeable and data[2][0].flags.c_contiguous


def test_grey_images(tmp_path):
    data = ZipDataset(archive(tmp_path / "a.zip", {"a.png": as_member(PIXELS[0][:1])}, '{"labels": null}'))
    assert np.array_equal(data[0][0], PIXELS[0][:1])


def test_the_index_is_made_once_and_shared(tmp_path, monkeypatch):
    path = archive(tmp_path / "a.zip", pngs(), '{"labels": null}')
    first = ZipDataset(path)
    held = set((cache_dir() / "zip-index").iterdir())
    with monkeypatch.context() as m:
        m.setattr(zipindex, "build_index", lambda path: pytest.fail("made again"))
        again = ZipDataset(path)
    assert np.array_equal(again[2][0], first[2][0]) and isinstance(again._index.members, np.memmap)
    assert np.array_equal(pickle.loads(pickle.dumps(first))[2][0], first[2][0])
    archive(path, dict(reversed(pngs(PIXELS[::-1]).items())), '{"labels": null}')
    os.utime(path, ns=(1, 1))
    assert np.array_equal(ZipDataset(path)[2][0], PIXELS[::-1][ORDER[2]]), "a changed archive is read anew"
    assert len(set((cache_dir() / "zip-index").iterdir()) - held) == 1


def test_zip64_fields(tmp_path, monkeypatch):
    """Archives whose offsets, sizes and counts do not fit 32 and 16 bits, made small by lowering zipfile's limits."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 100)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 2)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as f:
        for name, content in pngs().items():
            with f.open(zipfile.ZipInfo(name), "w", force_zip64=True) as member:
                member.write(content)
    data = ZipDataset(tmp_path / "a.zip")
    assert all(np.array_equal(data[i][0], PIXELS[original]) for i, original in enumerate(ORDER))


def png(mode):
    file = io.BytesIO()
    Image.new(mode, (4, 4)).save(file, "PNG")
    return file.getvalue()


LABELS = [[name, 0] for name in NAMES]
BAD = {
    "no image": ({"a.txt": b""}, None, "holds no .png or .npy"),
    "labels missing image": (pngs(), [*LABELS, ["none.png", 1]], "labels none.png, which the archive does not hold"),
    "image without label": (pngs(), LABELS[:-1], "0.png has no label"),
    "no label at all": (pngs(), [], "has no label"),
    "vector labels": (pngs(), [[name, [0, 1]] for name in NAMES], "is not .name, class. at byte"),
    "negative": (pngs(), [[name, -1] for name in NAMES], "is not .name, class. at byte"),
    "no PNG": ({**pngs(), "0.png": b"no picture"}, None, "image 0.png is no PNG"),
    "damaged PNG": ({**pngs(), "0.png": as_member(PIXELS[0])[:60]}, None, "image 0.png is no PNG"),
    "palette": ({**pngs(), "0.png": png("P")}, None, "image 0.png is a PNG of mode P"),
    "other size": (
        {**pngs(), "z.png": as_member(np.zeros((3, 5, 5), np.uint8))},
        None,
        r"z.png is uint8 \[3, 5, 5\], the first",
    ),
    "not square": ({"a.png": as_member(np.zeros((3, 5, 4), np.uint8))}, None, "allowed are uint8"),
    "pickled NPY": ({"a.npy": b"\x93NUMPY\x01\x00"}, None, "a.npy is no NPY"),
    "3 channels of float": ({"a.npy": as_member(np.zeros((3, 4, 4), np.float32))}, None, "allowed are uint8"),
    "mixed": (
        {"a.png": as_member(PIXELS[0]), "b.npy": as_member(np.zeros((8, 4, 4), np.float32))},
        None,
        "b.npy is float32",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_named(tmp_path, case):
    members, labels, message = BAD[case]
    path = archive(tmp_path / "a.zip", members, json.dumps({"labels": labels}))
    with pytest.raises(UserError, match=message):
        [image for image, _ in ZipDataset(path)]


def test_json_without_labels(tmp_path):
    with pytest.raises(UserError, match='no "labels"'):
        ZipDataset(archive(tmp_path / "a.zip", pngs(), "{}"))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_twice(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as f:
        for _ in range(2):
            f.writestr("a.png", as_member(PIXELS[0]))
    with pytest.raises(UserError, match=r"holds a\.png twice"):
        ZipDataset(tmp_path / "a.zip")


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.9, 0.99])
def test_cut_short(tmp_path, keep):
    path = archive(tmp_path / "a.zip", pngs(), '{"labels": null}')
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(UserError, match=r"a\.zip is (damaged|empty)"):
        ZipDataset(path)


@pytest.mark.parametrize("step", range(0, 1200, 41))
def test_a_wrong_byte_never_passes_for_an_image(tmp_path, step):
    """Whatever byte is wrong: an error for people, or it did not matter."""
    path = archive(tmp_path / "a.zip", pngs(), '{"labels": null}')
    content = bytearray(path.read_bytes())
    content[step % len(content)] ^= 0xFF
    path.write_bytes(content)
    try:
        data = ZipDataset(path)
        images = [image.tobytes() for image, _ in data]
    except UserError:
        return
    assert set(images) <= {image.tobytes() for image in PIXELS}


def test_members_compressed_otherwise(tmp_path):
    with pytest.raises(UserError, match="compressed by method 14"):
        ZipDataset(archive(tmp_path / "a.zip", pngs(), None, zipfile.ZIP_LZMA))
