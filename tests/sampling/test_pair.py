"""Pairs: loading, identity, counting, and the ways to take them apart."""

import pytest
import torch

from edm2lite.config import ClassifierConfig, GuidanceConfig, GuideConfig, ModelRef, SamplerConfig
from edm2lite.errors import UserError
from edm2lite.sampling.pair import load_pair
from edm2lite.snapshots.files import SnapshotInfo, save_snapshot
from tests.conftest import GOLDEN, TINY, tiny_denoiser
from tests.sampling.test_classified import save_classifier

SAMPLER = SamplerConfig(num_steps=4)


def run(tiny_run, nimg=None, **settings):
    return ModelRef(path=str(tiny_run), nimg=nimg, **settings)


def pair_of(main, guide=ModelRef(), **guidance):  # noqa: B008
    return load_pair(main, guide, GuidanceConfig(**guidance), device="cpu")


def save_denoiser(path, label_dim):
    """A denoiser of random weights."""
    info = SnapshotInfo(img_resolution=8, img_channels=1, label_dim=label_dim, network=TINY)
    save_snapshot(path, tiny_denoiser(label_dim).state_dict(), info)
    return ModelRef(path=str(path))


def images(pair, seeds=(0, 1, 2), **settings):
    return next(pair.sample(list(seeds), SAMPLER, len(seeds), **settings)).images


def test_a_model_guided_by_itself_is_itself(tiny_run):
    alone = images(pair_of(run(tiny_run)))
    torch.testing.assert_close(images(pair_of(run(tiny_run), run(tiny_run), weight=3.0)), alone, rtol=1e-4, atol=1e-4)


def test_one_guide_and_a_list_of_one_guide_are_the_same(tiny_run):
    guide = run(tiny_run, 160, ema=0.1)
    one = pair_of(run(tiny_run), guide, weight=2.0)
    listed = pair_of(run(tiny_run), guides=(GuideConfig(path=guide.path, nimg=guide.nimg, ema=guide.ema, weight=2.0),))
    assert torch.equal(images(one), images(listed)) and one.identity() == listed.identity()


def test_taken_apart(tiny_run):
    guide = run(tiny_run, 160, ema=0.1)
    pair = pair_of(run(tiny_run), guide, weight=2.0, truncation=1.1)
    assert torch.equal(images(pair.alone()), images(pair_of(run(tiny_run))))
    assert torch.equal(images(pair.guide_alone()), images(pair_of(guide)))
    assert torch.equal(images(pair.with_weights(2.0)), images(pair))
    assert torch.equal(images(pair.with_weights(1.0)), images(pair_of(run(tiny_run), truncation=1.1)))
    assert pair.evaluations(SAMPLER) == {"main": 7, "guide": 7} and pair.with_weights(1).evaluations(SAMPLER) == {
        "main": 7
    }


def test_the_identity_tells_apart_what_makes_other_images_and_nothing_else(tiny_run, tmp_path):
    base = pair_of(run(tiny_run), run(tiny_run, 160), weight=2.0)
    others = [
        pair_of(run(tiny_run), run(tiny_run, 160), weight=2.5),
        pair_of(run(tiny_run), run(tiny_run, 160), weight=2.0, interval=(0.1, 1)),
        pair_of(run(tiny_run), run(tiny_run, 160), weight=2.0, truncation=1.1),
        pair_of(run(tiny_run), run(tiny_run, 160, dropout=0.1), weight=2.0),
        pair_of(run(tiny_run, sigma_scale=1.1), run(tiny_run, 160), weight=2.0),
        pair_of(run(tiny_run), run(tiny_run, 240), weight=2.0),
    ]
    identities = [str(pair.identity()) for pair in (base, *others)]
    assert len(set(identities)) == len(identities)
    stored = sorted((tiny_run / "snapshots").glob("320-ema0.05*"))[0]
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(stored.read_bytes())
    moved = pair_of(ModelRef(path=str(copy)), run(tiny_run, 160), weight=2.0)
    assert moved.identity() == base.identity() and moved.describe() != base.describe()
    assert len(moved.describe()["main"]["file"]["sha256"]) == 64


def test_every_evaluation_can_be_recorded(tiny_run):
    seen = []
    pair = pair_of(run(tiny_run), run(tiny_run, 160), weight=2.0)
    images(pair, record=lambda sigma, denoised: seen.append((sigma, denoised.shape)))
    assert len(seen) == 7 and seen[0] == (80.0, (3, 1, 8, 8)) and seen[-1][0] == pytest.approx(0.002)


def test_networks_that_do_not_go_together_are_refused(tiny_run):
    with pytest.raises(UserError, match="differ in img_resolution: 8 and 16"):
        pair_of(run(tiny_run), ModelRef(path=str(GOLDEN / "snapshot-guide.pkl")), weight=2.0).check()
    with pytest.raises(UserError, match="classes 0-9"):
        pair_of(run(tiny_run)).check(label=10)


@pytest.mark.parametrize(
    ("guide", "guidance", "message"),
    [
        ({}, {"weight": 2.0}, r"guidance.weight is 2.0 but there is no guide; name one with --guide.path"),
        ({}, {"interval": (0.1, 1)}, r"guidance.interval is given but there is no guide"),
        ({"dropout": 0.1}, {}, "a degradation of guide is given but there is no guide"),
        ({"path": "g"}, {}, r"guide is named \(guide.path\) but no weight"),
        ({"path": "g"}, {"weight": 1.0}, r"guide.path is g but guidance.weight is 1"),
        (
            {"path": "g"},
            {"guides": (GuideConfig(path="h", weight=2.0),)},
            r"guide.path is g and guidance.guides names others",
        ),
    ],
)
def test_incomplete_or_contradicting_guidance_is_an_error_that_names_both(guide, guidance, message, tiny_run):
    with pytest.raises(UserError, match=message):
        pair_of(run(tiny_run), ModelRef(**guide), **guidance)


def test_a_list_of_guides_and_a_weight_contradict_each_other():
    guides = (GuideConfig(path="h", weight=2.0),)
    for other in ({"weight": 2.0}, {"interval": (0.1, 1)}):
        with pytest.raises(UserError, match=r"guidance.guides is given, and guidance.weight, interval or schedule"):
            GuidanceConfig(guides=guides, **other)
    with pytest.raises(UserError, match="guide h has weight 1"):
        GuideConfig(path="h", weight=1.0)


def test_a_label_that_nothing_sees_is_an_error(tiny_run):
    blind = run(tiny_run, unconditional=True)
    with pytest.raises(UserError, match="label is 3, but main is unconditional and nothing else sees labels"):
        pair_of(blind).check(label=3)
    with pytest.raises(UserError, match="labels is balanced, but main is unconditional and nothing else sees labels"):
        pair_of(blind).check(labels="balanced")
    pair_of(blind).check()
    for pair in (pair_of(blind, run(tiny_run, 160), weight=2.0), pair_of(run(tiny_run))):
        pair.check(label=3)
        pair.check(labels="balanced")


def test_balanced_labels_of_a_main_without_classes_are_an_error_unless_a_classifier_has_some(tmp_path):
    main = save_denoiser(tmp_path / "main.safetensors", 0)
    with pytest.raises(UserError, match="labels is balanced, but main is unconditional"):
        pair_of(main).check(labels="balanced")
    save_classifier(tmp_path / "c.safetensors")
    classifier = ClassifierConfig(path=str(tmp_path / "c.safetensors"), scale=1.0)
    pair_of(main, classifier=classifier).check(labels="balanced")


def test_a_guide_gets_the_classifiers_classes_so_they_must_be_its_own(tmp_path):
    main, ten, three = (save_denoiser(tmp_path / f"{n}.safetensors", n) for n in (0, 10, 3))
    save_classifier(tmp_path / "c.safetensors")  # 10 classes
    classifier = ClassifierConfig(path=str(tmp_path / "c.safetensors"), scale=1.0)
    pair_of(main, ten, weight=2.0, classifier=classifier).check()
    pair_of(main, three, weight=2.0).check()
    with pytest.raises(UserError, match="guide and classifier have 3 and 10 classes"):
        pair_of(main, three, weight=2.0, classifier=classifier).check()


def test_a_classifier_of_other_images_is_refused(tiny_run, tmp_path):
    for name, info, message in (
        ("scaled", {"encoder": {"name": "rgb", "scale": 100.0}}, "main and classifier see images encoded differently"),
        ("larger", {"resolution": 16}, "main and classifier differ in img_resolution: 8 and 16; a classifier must"),
    ):
        save_classifier(tmp_path / f"{name}.safetensors", **info)
        classifier = ClassifierConfig(path=str(tmp_path / f"{name}.safetensors"), scale=1.0)
        with pytest.raises(UserError, match=message):
            pair_of(run(tiny_run), classifier=classifier).check()
