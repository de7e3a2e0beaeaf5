"""Names of snapshots, and the check of a model's name before anything is loaded."""

import pytest

from edm2lite.config import ModelRef, Nimg
from edm2lite.errors import UserError
from edm2lite.files import sha256
from edm2lite.snapshots.index import check_model, snapshot_name, snapshots_until, stored_snapshots
from tests.conftest import GOLDEN

PKL = GOLDEN / "snapshot-guide.pkl"


def test_names_sort_by_time_and_round_trip(tmp_path):
    for nimg, sigma_rel in ((2**30, 0.1), (2**27, 0.05), (2**27, 0.125), (12345, 0.05)):
        (tmp_path / snapshot_name(nimg, sigma_rel)).touch()
    (tmp_path / ".64Mi-ema0.05.safetensors.1.tmp").touch()
    stored = stored_snapshots(tmp_path)
    times = [(12345, 0.05), (2**27, 0.05), (2**27, 0.125), (2**30, 0.1)]
    assert [(s.nimg, s.sigma_rel) for s in stored] == times
    assert snapshots_until(tmp_path, 2**27)[-1].nimg == Nimg("128Mi")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDM2LITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_a_model_may_be(tmp_path, cache):
    (tmp_path / snapshot_name(2**27, 0.05)).touch()
    check_model(ModelRef(path=str(tmp_path), nimg=Nimg("128Mi"), ema=0.07), "main")
    check_model(ModelRef(path=str(PKL), sha256=sha256(PKL)), "main")
    assert not cache.exists()
    check_model(ModelRef(path=PKL.as_uri(), sha256=sha256(PKL)), "main")
    (tmp_path / "edm2-img64-s").mkdir()
    (tmp_path / "edm2-img64-s" / snapshot_name(2**27, 0.05)).touch()
    check_model(ModelRef(path="nvidia:edm2-img64-s", nimg=Nimg("128Mi"), ema=0.07), "guide", str(tmp_path))


def test_what_it_may_not_be_is_one_line(tmp_path, cache):
    (tmp_path / snapshot_name(2**27, 0.05)).touch()
    (tmp_path / "bad.pkl").write_bytes(PKL.read_bytes()[:1000])
    for ref, message in [
        (ModelRef(), "no guide model was named"),
        (
            ModelRef(path=str(tmp_path / "absent")),
            "does not exist; it must be a run directory, .safetensors or .pkl file, the",
        ),
        (ModelRef(path=str(tmp_path), nimg=Nimg("1Gi")), "no snapshot at nimg 1Gi; it has 128Mi"),
        (ModelRef(path=str(PKL), sha256="0" * 64), "has sha256"),
        (ModelRef(path=(tmp_path / "bad.pkl").as_uri()), "not a complete snapshot pickle"),
        (ModelRef(path=(tmp_path / "no.pkl").as_uri()), "there is no such file"),
        (ModelRef(path="nvidia:edm2-img64"), "choose one of"),
    ]:
        with pytest.raises(UserError, match=message) as e:
            check_model(ref, "guide")
        assert "\n" not in str(e.value)
