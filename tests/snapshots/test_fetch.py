"""From names of models to local files: the order in which published models are looked for, hashes, loading by name."""

import shutil
from pathlib import Path

import pytest
import torch

from edm2lite import load_denoiser
from edm2lite.config import GuideConfig, ModelRef, Nimg
from edm2lite.errors import UserError
from edm2lite.files import sha256
from edm2lite.snapshots import fetch
from edm2lite.snapshots.fetch import provenance, resolve
from edm2lite.snapshots.index import check_model
from edm2lite.snapshots.load import load_model
from tests.conftest import GOLDEN
from tests.snapshots.server import serve

NAME = "edm2-img512-s-2147483-0.130.pkl"
REF = ModelRef(path="nvidia:edm2-img512-s", nimg=Nimg("2048Mi"), ema=0.130)
PKL = GOLDEN / "snapshot-guide.pkl"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """NVIDIA's server, with one file; a cache of the test's own."""
    monkeypatch.setenv("EDM2LITE_CACHE", str(tmp_path / "cache"))
    with serve() as site:
        site.files[f"/edm2/{NAME}"] = PKL.read_bytes()
        monkeypatch.setattr(fetch, "RECONSTRUCTIONS", f"{site.url}/edm2")
        yield site


def test_published_models_are_looked_for_as_file_imported_file_run_directory_download(site, tmp_path):
    models = tmp_path / "models"
    (models / "edm2-img512-s").mkdir(parents=True)
    places = [models / NAME, models / f"{NAME[:-4]}.safetensors", models / "edm2-img512-s"]
    for path in places[:2]:
        path.touch()
    for path in places:
        assert resolve(REF, str(models)).path == str(path)
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert not site.asked
    for _ in range(2):
        path = resolve(REF, str(models)).path
        assert Path(path).read_bytes() == PKL.read_bytes() and len(site.asked) == 1, "then from the cache"


def test_only_the_path_changes(site, tmp_path):
    ref = GuideConfig(path="nvidia:edm2-img512-s", nimg=Nimg("2048Mi"), ema=0.13, weight=2.0, dropout=0.1)
    found = resolve(ref)
    assert type(found) is GuideConfig and found.path.endswith(NAME)
    assert found == GuideConfig(**{**vars(ref), "path": found.path})
    assert resolve(ModelRef()) == ModelRef() and resolve(ModelRef(path="runs/main")).path == "runs/main"


def test_a_run_directory_of_imported_snapshots_needs_no_time_and_no_length(tmp_path):
    (tmp_path / "edm2-img512-s").mkdir()
    assert resolve(ModelRef(path="nvidia:edm2-img512-s"), str(tmp_path)).path == str(tmp_path / "edm2-img512-s")


def test_what_is_not_published_says_how_to_import(site, tmp_path):
    models = tmp_path / "there"
    models.mkdir()
    for ref, message in [
        (ModelRef(path="nvidia:edm2-img512-s"), "set nimg and ema"),
        (
            ModelRef(path="nvidia:edm2-img512-s", nimg=Nimg("2048Mi"), ema=0.135),
            r"HTTP 404.*--dest \S*there/edm2-img512-s",
        ),
        (ModelRef(path="nvidia:edm2-img512-s", nimg=Nimg(3000), ema=0.130), r"not among.*snapshot import"),
        (ModelRef(path="nvidia:edm2-img512-s", nimg=Nimg("2048Mi"), ema=0.1301), r"not among.*snapshot import"),
        (ModelRef(path="nvidia:edm2-img256-s"), "choose one of: edm2-img512-xxs"),
    ]:
        with pytest.raises(UserError, match=message):
            resolve(ref, str(models))
        with pytest.raises(UserError, match=message):
            check_model(ref, "main", str(models))


def test_hashes_are_checked_wherever_the_file_lies(site, tmp_path):
    right, wrong = sha256(PKL), "0" * 64
    local = ModelRef(path=str(PKL), sha256=right)
    assert resolve(local) == local
    url = f"{site.url}/edm2/{NAME}"
    with pytest.raises(UserError, match="it was not kept"):
        resolve(ModelRef(path=url, sha256=wrong))
    cached = resolve(ModelRef(path=url, sha256=right)).path
    for path in (str(PKL), url, cached):
        with pytest.raises(UserError, match=f"has sha256 {right}, not {wrong}"):
            resolve(ModelRef(path=path, sha256=wrong))
    with pytest.raises(UserError, match="which is a folder"):
        resolve(ModelRef(path=str(tmp_path), sha256=right))
    assert provenance(cached) == {"file": cached, "url": url, "sha256": right}
    assert provenance(PKL) == {"file": str(PKL), "sha256": right}


def test_models_load_by_name_and_url_and_are_what_their_name_says(site):
    expected = load_denoiser(PKL).state_dict()
    by_name = load_model("nvidia:edm2-img512-s", nimg="2048Mi", ema=0.13)
    assert (by_name.info.nimg, by_name.info.sigma_rel) == (2048 * 2**20, 0.130)
    url = f"{site.url}/edm2/{NAME}"
    for net in (by_name.denoiser, load_denoiser(url), load_denoiser(url, nimg=2**31, ema=0.13)):
        assert all(torch.equal(tensor, expected[name]) for name, tensor in net.state_dict().items())
    for asked, message in [
        ({"nimg": "128Mi"}, "one snapshot with nimg 2Gi"),
        ({"ema": 0.07}, "with ema 0.13, but ema 0.07"),
    ]:
        with pytest.raises(UserError, match=message):
            load_denoiser(url, **asked)
    with pytest.raises(UserError, match="nimg unknown"):
        load_denoiser(PKL, nimg="128Mi")
    check_model(ModelRef(path=url), "main")


def test_a_folder_of_models_that_is_not_there_is_an_error_not_a_download(tmp_path):
    with pytest.raises(UserError, match="which is no folder"):
        resolve(REF, str(tmp_path / "typo"))
