"""The benchmarks' arithmetic, and that each script runs: no test here is timed."""

import argparse
import importlib
import json
import math
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F

from tests.conftest import ROOT, run_script, tiny_denoiser

FOLDER = ROOT / "benchmarks"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bench():
    """Modules of the benchmarks, which are scripts beside each other and no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        return SimpleNamespace(
            **{n: importlib.import_module(n) for n in ("harness", "options", "timing", "models", "baseline")}
        )


@pytest.fixture
def report(bench, tmp_path):
    def make(*options: str):
        args = bench.options.parser("test").parse_args(["--device", "cpu", "--out", str(tmp_path), *options])
        made = bench.harness.Report("name", args, peak=False)
        made.peak = {"fp32": {"FLOP/s": 30e9, "side": 2.0}}
        return made

    return make


def test_a_ratio_is_taken_within_each_turn(bench):
    Spread, ratio = bench.timing.Spread, bench.timing.ratio
    assert ratio(Spread((1.0, 2.0, 4.0)), Spread((3.0, 2.0, 8.0))).values == (3.0, 1.0, 2.0)
    assert ratio(Spread((1.0, 2.0, 4.0)), Spread((3.0,))).values == (1.5,)  # not in turns: of the medians
    assert str(Spread((1.0, 3.0, 2.0))) == "2 (1 ... 3)"


def test_variants_take_turns_and_warm_up(bench):
    calls = []
    runs = {name: (lambda name=name: calls.append(name)) for name in "ab"}
    spent = bench.timing.in_turns(runs, CPU, repeats=2, warmup=1)
    assert calls == list("ababab")
    assert [len(spread.values) for spread in spent.values()] == [2, 2]


def test_memory_of_a_call_is_its_peak(bench):
    what, peak = bench.timing.memory_of(lambda: torch.ones(25_000_000).sum(), CPU)
    assert what == "peak RSS grown, MB" and (peak is None or 90 < peak < 150)


def test_speed_counts_images_and_flop(report, bench):
    columns = report().speed(bench.timing.Spread((1.0, 2.0, 9.0)), images=10, flops=3e9, dtype="fp32")
    assert (columns["images/s"], columns["GFLOP/s"], columns["of peak"]) == (5, 15, 0.5)


@pytest.mark.parametrize("error", [2e-4, math.nan, math.inf])
def test_a_wrong_number_fails(error, report, bench, capsys):
    made = report()
    made.add("good", {"images/s": 10.0}, bench.harness.Parity(1e-4, 1e-4))
    made.add("fast", {"images/s": 99.0}, bench.harness.Parity(error, 1e-4))
    assert made.finish() == 1
    assert "| fast | 99 | FAILED" in made.markdown() and "FAILED: fast" in capsys.readouterr().err
    assert [row["parity"]["ok"] for row in made.as_json()["rows"]] == [True, False]


def test_relative_error(bench):
    a, b = torch.tensor([3.0, 4.0]), torch.tensor([3.0, 4.5])
    assert bench.harness.relative_error(b, a) == pytest.approx(0.1)
    assert bench.harness.relative_error(a[:1], a) == math.inf


def test_an_error_fails_but_ends_nothing(report, capsys):
    made = report()

    def fail():
        raise ValueError("broken in /home/somebody/file.py")

    def too_large():
        raise torch.OutOfMemoryError

    made.attempt("error", fail)
    made.attempt("memory", too_large)
    made.add("reference", {"n": 1}, None)
    assert made.failed == ["error"] and made.finish() == 1
    assert "FAILED: ValueError: broken in file.py" in made.markdown()
    assert "not measured: out of memory" in made.markdown() and "| reference | 1 | reference |" in made.markdown()


def test_nothing_begins_after_the_time(report):
    made, called = report("--seconds", "0"), []
    made.attempt("late", lambda: called.append(1))
    assert not called and "no time left" in made.markdown() and made.finish() == 0


def test_results_are_saved_at_once_and_name_no_path(report, bench, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/somewhere/benchmarks/x.py", "--save", "--out", str(tmp_path), "--batch", "4"])
    made = report("--save", "--tag", "two+one")
    made.add("row", {"s": bench.timing.Spread((1.0, 2.0, 4.0)), "nothing": None}, bench.harness.Parity(0.0, 1.0))
    (path,) = tmp_path.glob("name-two-one_cpu_*.json")
    saved = json.loads(path.read_text())
    assert saved["rows"][0]["s"] == {"median": 2.0, "values": [1.0, 2.0, 4.0]}
    assert saved["command"] == "python benchmarks/x.py --batch 4"
    assert {"torch", "Python", "name", "load"} <= set(saved["device"])
    text = path.with_suffix(".md").read_text()
    assert text == made.markdown() and "| row | 2 (1 ... 4) |  | 0.0e+00 <= 1e+00 |" in text
    assert str(tmp_path) not in text + path.read_text()


@pytest.mark.parametrize("label_dim", [0, 5])
def test_the_baseline_computes_the_same_without_our_kernels(label_dim, bench, monkeypatch):
    net = tiny_denoiser(label_dim)
    plain = bench.baseline.baseline(net)
    for name, parameter in plain.named_parameters():
        if name.endswith("weight") and parameter.ndim > 1:
            parameter.data.mul_(3)  # it normalises in every forward
    x, sigma = torch.randn(4, 1, 8, 8), torch.tensor([0.01, 0.5, 2.0, 50.0])
    labels = torch.arange(4) if label_dim else None
    expected = net(x, sigma, labels)

    def fused(*args, **kwargs):
        raise AssertionError("the baseline attends by einsum")

    monkeypatch.setattr(F, "scaled_dot_product_attention", fused)
    with pytest.raises(AssertionError, match="einsum"):
        net(x, sigma, labels)
    # the weights' norm has an epsilon of 1e-4, which scaling them changes
    torch.testing.assert_close(plain(x, sigma, labels), expected, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(bench.baseline.baseline(net)(x, sigma, labels), expected, rtol=1e-5, atol=1e-5)


def test_sizes_are_those_of_the_configurations(bench):
    assert bench.models.config("XL", 512).network.model_channels == 384
    assert bench.models.shape("XL", 512)[:3] == (64, 4, 1000)
    with pytest.raises(SystemExit, match="no configs/imagenet64/xxl"):
        bench.models.config("XXL", 64)


def test_the_options_are_shared(bench):
    args = bench.options.parser("doc", repeats=3).parse_args(["--tag", "a"])
    assert isinstance(args, argparse.Namespace) and args.repeats == 3 and not args.save


SCRIPTS = {
    "train_step": ["--size", "digits", "--batch", "8", "--steps", "1"],
    "sampling": ["--pair", "tiny+tiny", "--data", "64", "--batch", "2", "--steps", "4", "--dtype", "bf16", "--compile"],
    "features": ["--detectors", "digits", "--images", "64"],
    "decoder": ["--side", "2", "--images", "1"],
    "ema": ["--snapshots", "3"],
    "loaders": ["--pixels", "64", "--latents", "8", "--many", "200"],
    "frechet": ["--dim", "32", "--few", "16"],
    "precision": ["--levels", "3", "--blocks", "2", "--seeds", "16", "--steps", "3", "--batch", "16"],
    "scaling": ["--batch", "1,2", "--steps", "16", "--images", "100,300", "--measured", "100,200"],
    "profile_steps": ["--batch", "2", "--rows", "3"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_the_script_runs(name, tmp_path):
    options = [*SCRIPTS[name], "--device", "cpu", "--repeats", "1", "--save", "--out", tmp_path]
    done = run_script(FOLDER / f"{name}.py", *options, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    (path,) = tmp_path.glob("*.json")
    assert not json.loads(path.read_text())["failed"]
