"""Asked to stop, a run saves and ends; two trainings never share a directory; a full disk loses nothing."""

import re
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest

from edm2lite.errors import UserError
from edm2lite.interrupt import Interrupt
from edm2lite.training.callbacks import CheckpointWriter
from edm2lite.training.fit import fit
from edm2lite.training.lock import check_unlocked, run_lock
from edm2lite.training.rundir import RunDir
from edm2lite.training.trainer import make_trainer
from tests.conftest import run_script
from tests.training.runs import OPTIONS, TOTAL, TWO_RANKS, final_state, largest_difference, start, steps_logged
from tests.training.test_strategies import config


def wait_for(process, condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
        time.sleep(0.002)


RARELY = [f"--training.checkpoint_nimg={TOTAL}"]


@pytest.mark.parametrize(
    ("signum", "status", "layout"),
    [
        (signal.SIGUSR1, 0, ["--data.num_workers=1"]),
        pytest.param(signal.SIGINT, 130, [], marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, TWO_RANKS, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_signal_saves_the_step_and_the_run_goes_on_exactly(signum, status, layout, uninterrupted, tmp_path):
    run_dir = tmp_path / "run"
    process = start(run_dir, *RARELY, *layout)
    wait_for(process, lambda: steps_logged(run_dir) >= 5)
    process.send_signal(signum)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == status, errors
    saved = [int(path.stem) for path in (run_dir / "checkpoints").glob("[!.]*")]
    assert len(saved) == 1 and 16 * 5 <= saved[0] < TOTAL and f"{signum.name} at nimg {saved[0]}" in errors
    assert run_script(*OPTIONS, *RARELY, f"--run_dir={run_dir}").returncode == 0
    assert largest_difference(final_state(run_dir), final_state(uninterrupted)) <= (1e-6 if layout == TWO_RANKS else 0)


def test_a_signal_while_importing_is_not_lost(tmp_path):
    process = start(tmp_path / "run", *RARELY)
    status = Path(f"/proc/{process.pid}/status")
    caught = lambda: int(re.search(r"SigCgt:\s*(\w+)", status.read_text())[1], 16)  # noqa: E731
    wait_for(process, lambda: caught() >> (signal.SIGUSR1 - 1) & 1)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) and process.returncode == 143
    assert len(list((tmp_path / "run" / "checkpoints").glob("[!.]*"))) == 1


def test_a_second_training_in_the_same_directory_is_refused(tmp_path):
    run_dir = tmp_path / "run"
    process = start(run_dir, f"--training.total_nimg={TOTAL * 1000}")
    wait_for(process, lambda: steps_logged(run_dir) >= 1)
    done = run_script(*OPTIONS, f"--run_dir={run_dir}", f"--training.total_nimg={TOTAL * 1000}")
    assert done.returncode == 2 and "in use by another training" in done.stderr and f"pid {process.pid}" in done.stderr
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    "layout", [[], pytest.param(TWO_RANKS, marks=pytest.mark.slow)], ids=["one process", "two processes"]
)
def test_when_the_disk_refuses_the_last_state_stays(layout, uninterrupted, tmp_path):
    """A limit on the size of files stands for the full disk: the system refuses the write half-way."""
    run_dir, newest = tmp_path / "run", f"{TOTAL}.safetensors"
    shutil.copytree(uninterrupted, run_dir)
    before = (run_dir / "checkpoints" / newest).read_bytes()
    limit = (len(before) // 2,) * 2
    process = start(
        run_dir, *layout, f"--training.total_nimg={2 * TOTAL}", f"--training.snapshot_nimg={2 * TOTAL}",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
    )  # fmt: skip
    errors = process.communicate(timeout=90)[1]
    assert process.returncode == 2 and f"cannot write {run_dir}/checkpoints" in errors and "make space" in errors
    assert (run_dir / "checkpoints" / newest).read_bytes() == before
    assert not list(run_dir.rglob(".*.tmp"))


def test_handlers_are_put_back_and_a_second_ctrl_c_stops_at_once():
    before = signal.getsignal(signal.SIGTERM)
    with Interrupt() as interrupt:
        signal.raise_signal(signal.SIGUSR1)
        assert interrupt.signum == signal.SIGUSR1
        signal.raise_signal(signal.SIGINT)
        assert interrupt.signum == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) == before


def test_lightning_puts_no_handlers_of_its_own_in_place(tmp_path):
    """A signal between its set-up and the first step would make its handler wait for the other ranks for ever."""
    cfg = config(tmp_path / "run", "one", 160)
    trainer = make_trainer(cfg, RunDir(cfg.run_dir), None, CheckpointWriter(RunDir(cfg.run_dir), 16, 160))
    assert callable(type(trainer._signal_connector).register_signal_handlers), "Lightning has renamed it"
    before = signal.getsignal(signal.SIGTERM)
    trainer._signal_connector.register_signal_handlers()
    assert signal.getsignal(signal.SIGTERM) == before


def test_training_for_less_than_there_is_ends_at_once(tmp_path):
    assert fit(config(tmp_path / "run", "one", 320)) == 0
    before = sorted((tmp_path / "run").rglob("*.safetensors"))
    assert fit(config(tmp_path / "run", "one", 160)) == 0
    assert sorted((tmp_path / "run").rglob("*.safetensors")) == before


def test_one_process_cannot_train_twice_in_one_directory(tmp_path):
    with run_lock(tmp_path), pytest.raises(UserError, match="this very process"), run_lock(tmp_path):
        pass
    check_unlocked(tmp_path)
