"""--devices: several processes from one command, without torch."""

import os
import signal
import subprocess
import sys
import time

import pytest

from edm2lite.config import SampleConfig
from edm2lite.errors import UserError
from edm2lite.sampling.processes import check_devices, launch
from edm2lite.sampling.write import sample
from tests.conftest import ROOT, run_script
from tests.sampling.test_write import config, files

SAY = "import os; open(f'{RANK}', 'w').write(' '.join(os.environ[n] for n in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')))"


def python(code, **names):
    for name, value in names.items():
        code = code.replace(f"{{{name}}}", value)
    return [sys.executable, "-c", code]


def test_ranks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert launch(python(SAY, RANK='{os.environ["RANK"]}'), 3) == 0
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {str(i): f"{i} 3 {i}" for i in range(3)}


def test_one_that_dies_does_not_take_the_others_along(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = (
        "import os, signal, time\nrank = os.environ['RANK']\n"
        "if rank == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
        "if rank == '2': raise SystemExit(2)\n"
        "time.sleep(0.3); open(rank, 'w')"
    )
    with pytest.raises(UserError, match=r"2 of 4 processes ended early \(process 1: signal 9, process 2: status 2\)"):
        launch(python(code), 4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "3"]


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_all(signum, code, tmp_path):
    child = "import os, time; open(os.environ['RANK'], 'w').write(str(os.getpid())); time.sleep(60)"
    parent = (
        "import sys; from edm2lite.sampling.processes import launch\n"
        f"try: sys.exit(launch([sys.executable, '-c', {child!r}], 2))\n"
        "except KeyboardInterrupt: sys.exit(130)"
    )
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    paths = [tmp_path / name for name in "01"]
    while not all(path.exists() and path.read_text() for path in paths):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signum)
    assert process.wait(10) == code
    for path in paths:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)


def test_a_signal_while_they_are_started_ends_all(monkeypatch):
    """It may come when a child runs but is not in the list yet."""
    real = subprocess.Popen

    def signalled(*arguments, **named):
        child = real(*arguments, **named)
        os.kill(os.getpid(), signal.SIGTERM)
        return child

    monkeypatch.setattr(subprocess, "Popen", signalled)
    begun = time.monotonic()
    assert launch(python("import time; time.sleep(20)"), 1) == 143
    assert time.monotonic() - begun < 10


def test_devices_that_contradict_the_launcher_or_the_device(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    check_devices(SampleConfig(devices=2, device="cpu"))
    with pytest.raises(UserError, match=r"devices is 2 and device cuda:1"):
        check_devices(SampleConfig(devices=2, device="cuda:1"))
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    check_devices(SampleConfig())
    with pytest.raises(UserError, match=r"devices is 2, but this is one of 4"):
        check_devices(SampleConfig(devices=2))


@pytest.mark.slow
def test_sample_starts_itself(tiny_run, tmp_path):
    together, alone = tmp_path / "together", tmp_path / "alone"
    done = run_script(
        "sample.py", f"--main.path={tiny_run}", "--seeds=0-5", "--batch_size=2", "--sampler.num_steps=5", "--devices=2",
        "--device=cpu", "--format=zip", f"--outdir={together}",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("100%") == 1, "one progress bar"
    sample(config(tiny_run, alone, "0-5", batch_size=2, format="zip"))
    assert files(together) == files(alone)
