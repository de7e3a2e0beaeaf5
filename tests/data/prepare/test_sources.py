"""Every kind of source gives the same dataset."""

import json
import shutil
import sys
import tarfile

import numpy as np
import pytest

from edm2lite.config import ConvertConfig
from edm2lite.data.datasets import fingerprint, open_stored
from edm2lite.data.packed import PackedDataset
from edm2lite.data.prepare.convert import convert
from edm2lite.data.prepare.detect import open_source
from edm2lite.errors import UserError
from tests.data.conftest import CLASSES, SIZE, jpeg, picture

TRAIN = ("ILSVRC", "Data", "CLS-LOC", "train")


def converted(source, dest, size=SIZE):
    convert(ConvertConfig(source=str(source), dest=str(dest), size=size, workers=1))
    return open_stored(str(dest))


def tar(path, folder):
    """A tar of a folder's files, in no order."""
    with tarfile.open(path, "w") as f:
        for file in sorted(folder.iterdir(), key=lambda p: p.name[::-1]):
            if not file.name.startswith("."):
                f.add(file, file.name)
    return path


@pytest.fixture
def tars(imagenet, tmp_path):
    (tmp_path / "tars").mkdir()
    for name in CLASSES:
        tar(tmp_path / "tars" / f"{name}.tar", imagenet.joinpath(*TRAIN, name))
    return tmp_path / "tars"


@pytest.fixture
def parquet(imagenet, tmp_path):
    """As the hub has it: two files of the split train, one of validation."""
    datasets = pytest.importorskip("datasets")
    files = [f for name in CLASSES for f in sorted(imagenet.joinpath(*TRAIN, name).glob("[!.]*"))]
    rows = {
        "image": [{"bytes": f.read_bytes(), "path": f.name} for f in files],
        "label": [CLASSES.index(f.parent.name) for f in files],
    }
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)})
    data = datasets.Dataset.from_dict(rows, features=features)
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for i, part in enumerate([data.select(range(30)), data.select(range(30, len(data)))]):
        part.to_parquet(tmp_path / "hub" / "data" / f"train-{i:05d}-of-00002.parquet")
    data.select(range(3)).to_parquet(tmp_path / "hub" / "data" / "validation-00000-of-00001.parquet")
    return tmp_path / "hub"


@pytest.mark.parametrize("depth", range(5))
def test_kaggle_from_any_folder_on_the_way(imagenet, depth):
    source = open_source(str(imagenet.joinpath(*TRAIN[:depth])))
    assert (source.count, source.classes, source.label_dim) == (63, CLASSES, 3)
    names = [item.name for item in source.items(0)]
    assert names == sorted(names), "classes and files in the order of their names"
    assert [item.name for item in source.items(40)] == names[40:]


def test_tars(tars, packed, tmp_path):
    data = converted(tars, tmp_path / "a")
    assert fingerprint(data) == fingerprint(open_stored(str(packed))) and data.classes == CLASSES
    whole = converted(tar(tmp_path / "ILSVRC2012_img_train.tar", tars), tmp_path / "b")
    assert fingerprint(whole) == fingerprint(data) and whole.classes == CLASSES
    assert (tmp_path / "a.rejected.tsv").read_text() == (tmp_path / "b.rejected.tsv").read_text()


@pytest.mark.filterwarnings("ignore")
def test_parquet(parquet, packed, tmp_path):
    data = converted(parquet, tmp_path / "a")
    assert fingerprint(data) == fingerprint(open_stored(str(packed))) and data.classes == CLASSES
    source, names = open_source(str(parquet)), None
    for start in (0, 13, 30, 45, source.count):
        items = [(item.name, item.where.data) for item in source.items(start)]
        names = names or items
        assert items == names[start:]


@pytest.mark.filterwarnings("ignore")
def test_parquet_without_names_of_classes_or_labels(tmp_path):
    datasets = pytest.importorskip("datasets")
    image = {"bytes": jpeg(picture(np.random.default_rng(0), 40, 40)), "path": None}
    data = datasets.Dataset.from_dict({"image": [image] * 3, "label": [0, 4, 2]})
    data.to_parquet(tmp_path / "a.parquet")
    assert open_source(str(tmp_path / "a.parquet")).classes == ["0", "1", "2", "3", "4"]
    data.remove_columns("label").to_parquet(tmp_path / "b.parquet")
    assert converted(tmp_path / "b.parquet", tmp_path / "b").label_dim == 0
    data.remove_columns("image").to_parquet(tmp_path / "c.parquet")
    with pytest.raises(UserError, match="has the columns label; it needs image"):
        open_source(str(tmp_path / "c.parquet"))
    datasets.Dataset.from_dict({"image": [image] * 2, "label": [0, -1]}).to_parquet(tmp_path / "d.parquet")
    with pytest.raises(UserError, match="has no label"):
        list(open_source(str(tmp_path / "d.parquet")).items(0))
    (tmp_path / "e.parquet").write_bytes(b"PAR1 not")
    with pytest.raises(UserError, match="no whole parquet file"):
        open_source(str(tmp_path / "e.parquet"))


def test_parquet_without_the_library(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match=r"edm2lite\[parquet\]"):
        open_source(str(tmp_path / "a.parquet"))


def test_layouts_become_one_another(packed, zipped, tmp_path):
    first = open_stored(str(packed))
    for i, (source, size) in enumerate([(packed, None), (zipped, None), (zipped, SIZE)]):
        for dest in (tmp_path / f"{i}.zip", tmp_path / f"{i}"):
            data = converted(source, dest, size)
            assert fingerprint(data) == fingerprint(first)
            assert all(np.array_equal(data[k][0], first[k][0]) for k in range(len(first)))
    end = (tmp_path / "1.zip").read_bytes().rfind(b"PK\5\6")
    assert (tmp_path / "1.zip").read_bytes()[:end] == zipped.read_bytes()[:end], "but for the settings in the comment"


def test_a_smaller_copy_of_a_dataset(packed, tmp_path):
    data = converted(packed, tmp_path / "a", 16)
    assert data.shape == (60, 3, 16, 16) and np.array_equal(data.labels, open_stored(str(packed)).labels)


def test_flat_folder_has_no_labels(imagenet, tmp_path):
    data = converted(imagenet.joinpath(*TRAIN, CLASSES[1]), tmp_path / "a")
    assert (len(data), data.label_dim, data.classes) == (18, 0, None) and not (tmp_path / "a" / "labels.npy").exists()
    zipped = converted(imagenet.joinpath(*TRAIN, CLASSES[1]), tmp_path / "a.zip")
    assert zipped.label_dim == 0 and fingerprint(zipped) == fingerprint(data)


def test_nested_class_folders_and_empty_classes(tmp_path):
    rng = np.random.default_rng(0)
    for file in ("dog/x/2.jpg", "dog/1.jpg", "cat/z.jpg"):
        (tmp_path / "in" / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / file).write_bytes(jpeg(picture(rng, 40, 40)))
    (tmp_path / "in" / "bird").mkdir()
    (tmp_path / "in" / "readme.txt").touch()
    data = converted(tmp_path / "in", tmp_path / "out")
    assert data.classes == ["bird", "cat", "dog"] and data.labels.tolist() == [1, 2, 2]
    assert [item.name for item in open_source(str(tmp_path / "in")).items(0)] == [
        "cat/z.jpg",
        "dog/1.jpg",
        "dog/x/2.jpg",
    ]


def make(tmp_path, *files):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    return tmp_path


def unfinished(tmp_path):
    (tmp_path / "journal.json").write_text("{}")
    return tmp_path


def unpacked(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": None}))
    return tmp_path


def tar_of_images(tmp_path):
    return tar(tmp_path / "a.tar", make(tmp_path / "in", "a.jpg"))


def damaged_tar(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"x" * 2000)
    return tmp_path / "a.tar"


def truncated_tar(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "n00000001.tar").write_bytes(b"")
    (tmp_path / "in" / "a.jpg").write_bytes(bytes(9000))
    tar(tmp_path / "in" / "n00000001.tar", make(tmp_path / "in2", "1.jpg"))
    with tarfile.open(tmp_path / "in" / "n00000001.tar", "w") as f:
        f.add(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "n00000001.tar").write_bytes((tmp_path / "in" / "n00000001.tar").read_bytes()[:3000])
    return tmp_path / "in"


BAD = {
    "nothing": (lambda p: p / "none", "does not exist"),
    "a file": (lambda p: make(p, "a.txt") / "a.txt", "no known kind"),
    "empty folder": (lambda p: p, "holds no images"),
    "empty classes": (lambda p: make(p, "a/.hidden", "b/.hidden"), "holds no images"),
    "splits": (lambda p: make(p, "train/a/1.jpg", "val/a/2.jpg"), "name one: --source .*train"),
    "image beside classes": (lambda p: make(p, "a/1.jpg", "2.jpg"), "2.jpg lies beside class folders"),
    "unfinished dataset": (unfinished, "unfinished dataset"),
    "unpacked archive": (unpacked, "zip -0 -r"),
    "tar of images": (tar_of_images, "no tar for every class"),
    "damaged tar": (damaged_tar, "no whole tar"),
    "truncated tar": (truncated_tar, "no whole tar"),
    "zip of something": (lambda p: shutil.make_archive(str(p / "a"), "zip", make(p / "in", "a.jpg")), "holds no .png"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_source_is_told(case, tmp_path):
    maker, message = BAD[case]
    with pytest.raises(UserError, match=message):
        open_source(str(maker(tmp_path)))


def test_a_class_called_train_is_a_class(tmp_path):
    make(tmp_path, "bus/1.jpg", "train/2.jpg")
    assert open_source(str(tmp_path)).classes == ["bus", "train"]


def test_names_that_are_no_text(tmp_path):
    """Any name that the file system allows."""
    (tmp_path / "in").mkdir()
    name = b"caf\xe9\t.jpg"
    with open(bytes(tmp_path / "in") + b"/" + name, "wb") as f:
        f.write(b"nothing")
    (tmp_path / "in" / "a.jpg").write_bytes(jpeg(picture(np.random.default_rng(0), 40, 40)))
    converted(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out.rejected.tsv").read_text() == "caf\ufffd .jpg\tnot an image\n"


def test_a_packed_source_keeps_class_names(packed, tmp_path):
    converted(packed, tmp_path / "a", None)
    assert PackedDataset(tmp_path / "a").classes == CLASSES
