"""Reference files: ours, and those of other projects."""

import pickle

import numpy as np
import pytest

from edm2lite.config import parse_metric
from edm2lite.errors import UserError
from edm2lite.evaluation.detectors.custom import load_custom
from edm2lite.evaluation.reference import Reference, Statistics, load_reference

PATCHWORK = "tests.evaluation.detectors_for_tests:patchwork"


def statistics(dim=6, **more):
    x = np.random.default_rng(0).normal(size=(50, dim))
    return Statistics(mu=x.mean(0), sigma=np.cov(x.T), num_images=50, **more)


def saved(path, **detectors):
    ref = Reference(path=str(path), data={"name": "made up", "num_images": 50}, statistics=detectors)
    ref.save()
    return ref


def test_a_reference_comes_back_whole(tmp_path):
    features = np.ones((4, 6), np.float32)
    whole = statistics(identity={"detector": "a"}, features=features, labels=np.arange(4))
    ref = saved(tmp_path / "ref.npz", first=whole, second=statistics(3))
    back = load_reference(ref.path)
    assert back.data == ref.data and list(back.statistics) == ["first", "second"]
    first = back.statistics["first"]
    assert (first.mu == whole.mu).all() and (first.sigma == whole.sigma).all() and (first.features == features).all()
    assert first.labels.tolist() == [0, 1, 2, 3] and first.identity == {"detector": "a"} and first.num_images == 50
    assert back.statistics["second"].features is None
    assert back.fingerprint("first") == ref.fingerprint("first") != ref.fingerprint("second")


def test_a_metric_finds_its_detector(tmp_path):
    both = saved(tmp_path / "both.npz", inception=statistics(), dinov2=statistics())
    assert (
        both.detector_of(parse_metric("fid")) == "inception" and both.detector_of(parse_metric("kd_dinov2")) == "dinov2"
    )
    with pytest.raises(UserError, match=r"metric fd names no detector, and .* name one of: fid, fd_dinov2"):
        both.detector_of(parse_metric("fd"))
    one = saved(tmp_path / "one.npz", digits=statistics())
    assert one.detector_of(parse_metric("fd")) == "digits"
    with pytest.raises(UserError, match=r"metric fid needs statistics of inception, but .* has those of digits"):
        one.detector_of(parse_metric("fid"))


def test_another_detector_or_preprocessing_is_an_error_not_a_number(tmp_path):
    detector = load_custom(PATCHWORK)
    saved(tmp_path / "ref.npz", **{PATCHWORK: statistics(identity=detector.identity)}).check(detector)
    for key in detector.identity:
        other = saved(tmp_path / "ref.npz", **{PATCHWORK: statistics(identity=detector.identity | {key: "other"})})
        with pytest.raises(UserError, match=f"was made with {key} other, but here it is"):
            other.check(detector)
    with pytest.raises(UserError, match=r"has 5 features of .*, but .* makes 6"):
        saved(tmp_path / "ref.npz", **{PATCHWORK: statistics(5)}).check(detector)


def nvidia(dim_inception=2048, dim_dinov2=4):
    rng = np.random.default_rng(1)
    make = lambda d: {"mu": rng.normal(size=d), "sigma": np.eye(d)}  # noqa: E731
    return {"num_images": 1281167, "fid": make(dim_inception), "fd_dinov2": make(dim_dinov2)}


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("module", [b"numpy._core.multiarray", b"numpy.core.multiarray"])
def test_statistics_published_by_nvidia(tmp_path, protocol, module):
    content, path = nvidia(5), tmp_path / "img512.pkl"
    content["fid"]["sigma"] = np.asfortranarray(np.arange(25.0).reshape(5, 5))
    data = pickle.dumps(content, protocol=protocol)
    if protocol < 4:  # names are plain text there, so that numpy 1's can be written by numpy 2
        data = data.replace(b"numpy._core.multiarray", module)
    path.write_bytes(data)
    ref = load_reference(path)
    inception, dinov2 = ref.statistics["inception"], ref.statistics["dinov2"]
    assert (inception.mu == content["fid"]["mu"]).all() and (inception.sigma == content["fid"]["sigma"]).all()
    assert (dinov2.mu == content["fd_dinov2"]["mu"]).all() and dinov2.num_images == 1281167 and dinov2.identity is None


class Hostile:
    def __reduce__(self):
        return (print, ("this must never be run",))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (Hostile(), "refused: it asks for .*print"),
        ({"fid": {"mu": np.array([None]), "sigma": np.eye(1)}}, "refused: it has numbers of type O8"),
        ({"other": 1}, "holds other; reference statistics hold fid or fd_dinov2"),
        ({"fid": {"mu": np.zeros(3)}}, "no complete pickle of reference statistics"),
        ({"fid": {"mu": np.zeros(3), "sigma": np.eye(2)}}, r"have shapes \[3\] and \[2, 2\]"),
        ({"fid": {"mu": np.full(2, np.nan), "sigma": np.eye(2)}}, "not finite"),
        (b"x" * 10, "refused: it has a bytes"),
    ],
)
def test_pickles_of_anything_else_are_refused_unread(tmp_path, capsys, content, match):
    path = tmp_path / "ref.pkl"
    path.write_bytes(pickle.dumps(content, protocol=4))
    with pytest.raises(UserError, match=match):
        load_reference(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError):
        load_reference(path)
    assert "never be run" not in capsys.readouterr().out


def test_moments_of_edm_and_adm_are_those_of_inception(tmp_path):
    mu, sigma = np.zeros(2048), np.eye(2048, dtype=np.float32)
    np.savez(tmp_path / "edm.npz", mu=mu, sigma=sigma)
    edm = load_reference(tmp_path / "edm.npz")
    assert list(edm.statistics) == ["inception"] and edm.images is None
    assert edm.statistics["inception"].sigma.dtype == np.float64
    np.savez(tmp_path / "adm.npz", mu=mu, sigma=sigma, arr_0=np.zeros((2, 4, 4, 3), np.uint8))
    assert load_reference(tmp_path / "adm.npz").images == str(tmp_path / "adm.npz")


def test_files_that_are_no_reference(tmp_path):
    with pytest.raises(UserError, match=r"do not exist; make them with: evaluate\.py ref"):
        load_reference(tmp_path / "absent.npz")
    (tmp_path / "bad.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "small.npz", mu=np.zeros(3), sigma=np.eye(3))
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    np.savez(tmp_path / "hostile.npz", mu=np.array([object()], dtype=object), sigma=1)
    np.savez(tmp_path / "old.npz", provenance='{"dataset": "digits"}', mu=np.zeros(3))
    for name, match in {
        "bad": "holds no reference statistics", "small": "has 3 features and does not say of which detector",
        "other": "it holds images", "hostile": "holds no reference statistics", "old": "written by another version",
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=match):
            load_reference(tmp_path / f"{name}.npz")
