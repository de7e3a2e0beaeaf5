"""The command line: help at once, one error line, exit 2, nothing written."""

import pickle
from pathlib import Path

import pytest

from tests.conftest import GOLDEN, run_script


@pytest.mark.parametrize(
    "command",
    [
        ("train.py",),
        ("sample.py",),
        ("evaluate.py",),
        *(("evaluate.py", c) for c in ("ref", "metrics", "table", "report")),
        *(("-m", "edm2lite", "snapshot", c) for c in ("info", "import", "export", "push")),
    ],
)
def test_help_comes_without_torch(command, monkeypatch, tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('help must not need torch')")
    done = run_script(*command, "--help", PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout


def test_help_explains_options_and_ends_in_examples():
    text = run_script("train.py", "--help").stdout
    assert "Standard deviation of ln(sigma)" in text
    assert text.splitlines()[-3:][0] == "examples:" and "# to resume: the same command" in text


class Hostile:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        import os

        return (os.system, (f"touch {self.target}",))


@pytest.fixture
def files(tmp_path):
    (tmp_path / "hostile.pkl").write_bytes(pickle.dumps({"ema": Hostile(tmp_path / "canary")}))
    (tmp_path / "truncated.pkl").write_bytes((GOLDEN / "snapshot-guide.pkl").read_bytes()[:100_000])
    (tmp_path / "bad.yaml").write_text("training: {batchsize: 3}\n")
    (tmp_path / "broken.yaml").write_text("training: {batch_size: [\n")
    return tmp_path


GUIDE = str(GOLDEN / "snapshot-guide.pkl")
BAD = {
    "hostile pickle": (["sample.py", "--main.path={files}/hostile.pkl"], "refused: it asks for posix.system"),
    "truncated pickle": (["sample.py", "--main.path={files}/truncated.pkl"], "not a complete snapshot"),
    "unknown key": (["train.py", "-c", "{files}/bad.yaml"], "does not accept option 'batchsize'; did you mean"),
    "broken YAML": (["train.py", "-c", "{files}/broken.yaml"], "config"),
    "unknown option": (["train.py", "--network.dropuot=0.1"], "did you mean network.dropout?"),
    "misspelt dataset": (["train.py", "--data.name=digist", "--run_dir={files}/new"], "choose one of: digits, patches"),
    "misspelt choice": (["train.py", "--training.precision=fp8"], "choose one of: fp32, bf16, fp16"),
    "misspelt command": (["evaluate.py", "tabel"], "choose one of: ref, metrics, table, sweep, report"),
    "weight without guide": (["sample.py", f"--main.path={GUIDE}", "--guidance.weight=2"], "there is no guide"),
    "guide without weight": (["sample.py", f"--main.path={GUIDE}", f"--guide.path={GUIDE}"], "no weight"),
    "missing run": (["sample.py", "--main.path=runs/nowhere"], "does not exist"),
    "no model": (["sample.py"], "no main model was named"),
    "nimg not saved": (["sample.py", "--main.path={run}", "--main.nimg=100"], "it has 80, 160, 240, 320"),
    "0 seeds": (["sample.py", f"--main.path={GUIDE}", "--seeds="], "name no seed"),
    "1 step": (["sample.py", f"--main.path={GUIDE}", "--sampler.num_steps=1"], "at least 2"),
    "table without reference": (
        ["evaluate.py", "table", "-c", "configs/tables/digits.yaml", "--ref=none.npz"],
        "evaluate.py ref",
    ),
    "unknown reference data": (["evaluate.py", "ref", "--data.name=digist"], "choose one of: digits, patches"),
    "report of nothing": (["evaluate.py", "report"], "no tables were named"),
    "metrics without reference": (["evaluate.py", "metrics", "--images=.", "--ref=none.npz"], "evaluate.py ref"),
    "guide for a folder": (["evaluate.py", "metrics", "--images=.", "--guidance.weight=2"], "no part in scoring"),
    "guide without path": (["sample.py", f"--main.path={GUIDE}", "--guide.ema=0.1"], "without its path"),
    "binary config": (["train.py", "-c", "/bin/ls"], "error"),
    "metrics of nothing": (["evaluate.py", "metrics"], "name exactly one"),
    "wrong type": (["train.py", "--training.batch_size=many"], "training.batch_size"),
    "batch that does not divide": (
        ["train.py", "-c", "configs/debug/cpu.yaml", "--trainer.devices=3"],
        "does not divide",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_error_line_and_exit_2(case, files, tiny_run):
    command, message = BAD[case]
    out = ["--outdir", str(files / "out")] if command[0] == "sample.py" else []
    (files / "torch").mkdir()
    (files / "torch" / "__init__.py").write_text("raise ImportError('a refusal must not need torch')")
    done = run_script(*(part.format(files=files, run=tiny_run) for part in command), *out, PYTHONPATH=str(files))
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2 and len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ") and message in lines[0]
    assert not (files / "out").exists() and not (files / "new").exists() and not (files / "canary").exists()


def test_bugs_keep_their_traceback(monkeypatch):
    from edm2lite import cli
    from edm2lite.config import SampleConfig

    command = cli.Command(SampleConfig, lambda cfg: 1 / 0, "")
    with pytest.raises(ZeroDivisionError):
        cli.main({"sample": command}, "sample.py", [])


def test_the_installed_command_names_all_its_commands(monkeypatch, capsys):
    from edm2lite import cli

    for argv, status in (["--help"], 0), (["snapshoot"], 2):
        monkeypatch.setattr("sys.argv", ["edm2lite", *argv])
        assert cli.entry() == status
        text = "".join(capsys.readouterr())
        assert all(name in text for name in ("train", "sample", "metrics", "data", "snapshot"))


@pytest.mark.parametrize("prefix", [[], ["evaluate"]])
def test_the_installed_command_takes_evaluate_as_a_word_or_not(prefix, monkeypatch, capsys):
    from edm2lite import cli

    monkeypatch.setattr("sys.argv", ["edm2lite", *prefix, "metrics", "--ref=none.npz", "--images=."])
    assert cli.entry() == 2
    assert "none.npz do not exist" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_one_line(tiny_run):
    done = run_script(
        "sample.py", f"--main.path={tiny_run}", "--seeds=0", "--sampler.num_steps=2", "--outdir=/proc/nowhere"
    )
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1 and "/proc/nowhere" in done.stderr


def test_presets_are_found_from_anywhere(tmp_path, monkeypatch):
    from edm2lite.cli import _installed

    monkeypatch.chdir(tmp_path)
    assert Path(_installed("configs/digits/main.yaml")).is_file()
    assert _installed("configs/nothing.yaml") == "configs/nothing.yaml" and _installed("3") == "3"
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mine.yaml").touch()
    assert _installed("configs/mine.yaml") == "configs/mine.yaml", "what lies here comes first"
