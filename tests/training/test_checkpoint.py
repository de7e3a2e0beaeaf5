"""Checkpoint files: whole, verified, without anything that runs."""

import pytest
import torch
from safetensors.torch import save_file

from edm2lite.config import Nimg
from edm2lite.errors import UserError
from edm2lite.training.checkpoint import (
    CheckpointInfo,
    collect,
    load_checkpoint,
    newest_whole_checkpoint,
    parts,
    verify_checkpoint,
    write_checkpoint,
)
from edm2lite.training.power_ema import PowerEMA
from edm2lite.training.rundir import RunDir
from tests.conftest import tiny_denoiser

INFO = CheckpointInfo(nimg=64, data="abc", nonfinite_gradients=3, licence="theirs")


def trained(seed, steps=2):
    """A denoiser, its averages and optimizer after some steps on random gradients."""
    net = tiny_denoiser(label_dim=3, seed=seed).requires_grad_(True)
    optimizer, ema = torch.optim.Adam(net.parameters(), lr=0.1), PowerEMA(net, [0.05, 0.1])
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
    write(tmp_path / "a", state)
    assert verify_checkpoint(tmp_path / "a") == INFO
    load_checkpoint(tmp_path / "a", *other, steps=2)
    for (net, ema, optimizer), nimg in ((state, 3), (other, 3)):
        torch.manual_seed(0)
        for p in net.parameters():
            p.grad = torch.randn_like(p)
        optimizer.step()
        ema.update(nimg, 1)
    ours, theirs = (collect(parts(*s), keep=True) for s in (state, other))
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


@pytest.mark.parametrize("where", [0.1, 0.5, 0.999])
def test_one_wrong_bit_is_found(where, tmp_path):
    write(tmp_path / "a", trained(0))
    content = bytearray((tmp_path / "a").read_bytes())
    content[int(where * len(content))] ^= 1
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        verify_checkpoint(tmp_path / "a")


@pytest.mark.parametrize("size", [0, 5, 1000, -1])
def test_a_file_cut_short_is_found(size, tmp_path):
    write(tmp_path / "a", trained(0))
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:size])
    with pytest.raises(UserError, match="is damaged"):
        verify_checkpoint(tmp_path / "a")


def test_other_files_are_no_checkpoints(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "a")
    with pytest.raises(UserError, match="no checkpoint of this version"):
        verify_checkpoint(tmp_path / "a")


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
