"""Checkpoint files: whole, verified, without anything that runs."""

import pytest
import torch
from safetensors.torch import save_file

from edm2lite.config import Nimg, TrainingConfig
from edm2lite.errors import UserError
from edm2lite.training import checkpoint
from edm2lite.training.checkpoint import (
    CheckpointInfo,
    DamagedError,
    collect,
    load_checkpoint,
    parts,
    verify_checkpoint,
    write_checkpoint,
)
from edm2lite.training.power_ema import PowerEMA
from edm2lite.training.prepare import make_optimizer
from edm2lite.training.rundir import RunDir
from edm2lite.training.start import newest_whole_checkpoint
from tests.conftest import tiny_denoiser

INFO = CheckpointInfo(nimg=64, data="abc", nonfinite_gradients=3, licence="theirs")


def trained(seed, steps=2):
    """A denoiser, its averages and optimizer after some steps on random gradients."""
    net = tiny_denoiser(label_dim=3, seed=seed).requires_grad_(True)
    optimizer, ema = make_optimizer(net, TrainingConfig(ref_lr=0.1)), PowerEMA(net, [0.05, 0.1])
    for step in range(1, steps + 1):
        for p in net.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
        ema.update(step, 1)
    return net, ema, optimizer


def write(path, state, info=INFO):
    write_checkpoint(path, collect(parts(*state), keep=True), info)


def test_everything_comes_back_and_training_goes_on_alike(tmp_path):
    state, other = trained(0), trained(1)
    write(tmp_path / "64", state)
    assert verify_checkpoint(tmp_path / "64") == INFO
    load_checkpoint(tmp_path / "64", *other, steps=2)
    for (net, ema, optimizer), nimg in ((state, 3), (other, 3)):
        torch.manual_seed(0)
        for p in net.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
        ema.update(nimg, 1)
    ours, theirs = (collect(parts(*s), keep=True) for s in (state, other))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("where", [b'"nimg":"64', b'"data":"\\"ab', b'"nonfinite_gradients":"3', 0.5, 0.999])
def test_one_wrong_bit_is_found(where, tmp_path):
    write(tmp_path / "64", trained(0))
    content = bytearray((tmp_path / "64").read_bytes())
    at = int(where * len(content)) if isinstance(where, float) else content.index(where) + len(where) - 1
    content[at] ^= 1
    (tmp_path / "64").write_bytes(content)
    with pytest.raises(DamagedError, match="is damaged"):
        verify_checkpoint(tmp_path / "64")


def test_what_is_no_damage_is_told_apart_and_left_alone(tmp_path, monkeypatch):
    run = RunDir(tmp_path)
    write(run.checkpoint(32), trained(0), CheckpointInfo(nimg=32))
    write(run.checkpoint(100), trained(0))
    with pytest.raises(UserError, match="is of nimg 64; give it its own name"):
        newest_whole_checkpoint(run)
    run.checkpoint(100).rename(run.checkpoint(64))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "FORMAT", "edm2lite-checkpoint-2")
        with pytest.raises(UserError, match="use the version that wrote it"):
            newest_whole_checkpoint(run)

    def too_many_files(*args, **kwargs):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "safe_open", too_many_files)
        with pytest.raises(UserError, match="cannot be read"):
            newest_whole_checkpoint(run)
    assert len(run.list_checkpoints()) == 2


@pytest.mark.parametrize("size", [0, 5, 1000, -1])
def test_a_file_cut_short_is_found(size, tmp_path):
    write(tmp_path / "64", trained(0))
    (tmp_path / "64").write_bytes((tmp_path / "64").read_bytes()[:size])
    with pytest.raises(UserError, match="is damaged"):
        verify_checkpoint(tmp_path / "64")


def test_other_files_are_no_checkpoints(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "64")
    with pytest.raises(DamagedError):
        verify_checkpoint(tmp_path / "64")


def test_the_newest_whole_one_is_taken_and_the_damaged_put_aside(tmp_path, capsys):
    run, state = RunDir(tmp_path), trained(0)
    assert newest_whole_checkpoint(run) is None
    for nimg in (100, 64, 1000):
        write(run.checkpoint(nimg), state, CheckpointInfo(nimg=nimg))
    found = newest_whole_checkpoint(run)
    assert found is not None and found[1].nimg == 1000
    run.checkpoint(1000).write_bytes(b"nothing")
    found = newest_whole_checkpoint(run)
    assert found is not None and found[1].nimg == 100 and "1000.safetensors is damaged" in capsys.readouterr().err
    assert [Nimg(p.stem) for p in run.list_checkpoints()] == [100, 64]
    for nimg in (100, 64):
        run.checkpoint(nimg).write_bytes(b"nothing")
    with pytest.raises(UserError, match="there is no other"):
        newest_whole_checkpoint(run)
    assert run.checkpoint(64).exists()
