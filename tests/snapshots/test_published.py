"""Names of NVIDIA's files: what they say, and which time and EMA length have one."""

import pytest

from edm2lite.errors import UserError
from edm2lite.snapshots.published import file_name, model_name, parse_file_name

Mi = 2**20


@pytest.mark.parametrize(
    ("name", "model", "nimg", "ema"),
    [
        ("edm2-img512-s-2147483-0.130.pkl", "edm2-img512-s", 2048 * Mi, 0.130),
        ("edm2-img512-xs-uncond-0134217-0.125.pkl", "edm2-img512-xs-uncond", 128 * Mi, 0.125),
        ("edm2-img512-xxl-0939524-0.015.pkl", "edm2-img512-xxl", 896 * Mi, 0.015),
        ("edm2-img64-l-1073741-0.040.pkl", "edm2-img64-l", 1024 * Mi, 0.040),
        ("network-snapshot-0008388-0.050.pkl", "network-snapshot", 8 * Mi, 0.050),
    ],
)
def test_names_and_what_they_say_are_inverse(name, model, nimg, ema):
    parsed = parse_file_name(name)
    assert (parsed.model, parsed.nimg, parsed.ema) == (model, nimg, ema)
    assert file_name(model, nimg, ema) == name


def test_every_batch_of_a_published_training_is_named_unambiguously():
    for nimg in range(2048 * 5000, 2048 * 5050, 2048):
        assert parse_file_name(file_name("edm2-img512-s", nimg, 0.05)).nimg == nimg


def test_what_a_name_cannot_say():
    assert parse_file_name("edm2-img512-s-2147483-0.130.safetensors") is None
    assert parse_file_name("my-model.pkl") is None and parse_file_name("2147483-0.130.pkl") is None
    assert parse_file_name("edm2-img512-s-0000003-0.130.pkl").nimg is None, "no multiple of 2048 is 3000 to 3999"
    assert file_name("edm2-img512-s", 1000, 0.05) is None
    assert file_name("edm2-img512-s", 8 * Mi, 0.0525) is None


def test_models_by_name():
    assert model_name("nvidia:edm2-img64-xs-uncond") == "edm2-img64-xs-uncond"
    assert model_name("runs/main") is None
    with pytest.raises(
        UserError, match="unknown published model 'edm2-img512-xl-uncond'; choose one of: edm2-img512-xxs, "
    ):
        model_name("nvidia:edm2-img512-xl-uncond")
