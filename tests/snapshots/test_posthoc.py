"""Many EMA lengths in one read: the same sums to the bit, each file read once, memory within a budget."""

import gc
import multiprocessing
import shutil
import time
from collections import Counter

import pytest
import torch

from edm2lite import posthoc_coefficients
from edm2lite.config import ModelRef, NetworkConfig
from edm2lite.errors import UserError
from edm2lite.snapshots import posthoc
from edm2lite.snapshots.files import SnapshotInfo, read_info, read_tensors, save_snapshot
from edm2lite.snapshots.index import snapshot_name, stored_snapshots
from edm2lite.snapshots.posthoc import find_or_reconstruct, reconstruct, reconstruct_for
from tests.conftest import TINY

TIMES = (64, 128, 192, 256)
INFO = SnapshotInfo(img_resolution=8, img_channels=1, label_dim=0, network=NetworkConfig(**TINY.__dict__))
TARGETS = [(256, 0.03), (128, 0.07), (None, 0.15), (256, 0.05), (128, None), (192, 0.07), (256, 0.15)]


@pytest.fixture
def run(tmp_path):
    """A run directory of random weights in half precision, as imported ones are."""
    torch.manual_seed(0)
    fixed = INFO.build().state_dict()
    names = [name for name, _ in INFO.build().named_parameters()]
    for nimg in TIMES:
        for sigma_rel in (0.05, 0.1):
            tensors = fixed | {name: torch.randn_like(fixed[name]).half() for name in names}
            save_snapshot(tmp_path / "snapshots" / snapshot_name(nimg, sigma_rel), tensors, INFO.at(nimg, sigma_rel))
    return tmp_path


@pytest.fixture
def reads(monkeypatch):
    """Counts of the files read, by name."""
    counts = Counter()

    def read(path):
        counts[path.name] += 1
        return read_tensors(path)

    monkeypatch.setattr(posthoc, "read_tensors", read)
    return counts


def clear(run):
    for path in (run / "posthoc").glob("*.safetensors"):
        path.unlink()


def test_many_are_what_each_would_be_alone_to_the_bit(run):
    together = [(path, read_tensors(path), read_info(path)) for path in reconstruct(run, TARGETS)]
    clear(run)
    for (path, tensors, info), target in zip(together, TARGETS, strict=True):
        alone = find_or_reconstruct(run, *target)
        assert alone == path and read_info(alone) == info == INFO.at(target[0] or 256, target[1] or 0.05)
        expected = read_tensors(alone)
        assert tensors.keys() == expected.keys() and all(torch.equal(tensors[name], expected[name]) for name in tensors)


def test_they_are_the_combinations_of_least_squares_and_buffers_stay_as_they_are(run):
    for nimg, sigma_rel in ((128, 0.07), (256, 0.15)):
        stored = [s for s in stored_snapshots(run) if s.nimg <= nimg]
        x = posthoc_coefficients([s.nimg for s in stored], [s.sigma_rel for s in stored], [nimg], [sigma_rel])[:, 0]
        sources = [read_tensors(s.path) for s in stored]
        buffers = dict(INFO.build().named_buffers())
        for name, tensor in read_tensors(reconstruct(run, [(nimg, sigma_rel)])[0]).items():
            if name in buffers:
                assert torch.equal(tensor, sources[-1][name])
            else:
                expected = sum(c * t[name].double() for c, t in zip(x, sources, strict=True))
                torch.testing.assert_close(tensor.double(), expected, rtol=1e-4, atol=1e-5)
                one_by_one = torch.zeros(tensor.shape)
                for c, t in zip(x.tolist(), sources, strict=True):
                    one_by_one.add_(t[name].float(), alpha=c)
                assert torch.equal(tensor, one_by_one)


def test_a_damaged_cache_is_made_again(run, left_by_the_dead):
    path = find_or_reconstruct(run, None, 0.07)
    whole, left = read_tensors(path), path.with_name(left_by_the_dead(path.name))
    left.touch()
    damaged = path.read_bytes()[:100]
    path.unlink()  # what maps the file keeps it
    path.write_bytes(damaged)
    again = read_tensors(find_or_reconstruct(run, None, 0.07))
    assert again.keys() == whole.keys() and all(torch.equal(again[name], whole[name]) for name in whole)
    assert not left.exists(), "of a process that was killed"


def test_each_file_is_read_once_for_all_and_late_ones_not_for_early_targets(run, reads):
    reconstruct(run, TARGETS)
    assert reads == {path.path.name: 1 for path in stored_snapshots(run)}
    reconstruct(run, TARGETS)
    assert reads.total() == 8, "the second time from the cache"
    clear(run)
    reads.clear()
    reconstruct(run, [(128, 0.07), (64, 0.03), (128, 0.05)])
    assert reads == {snapshot_name(nimg, s): 1 for nimg in TIMES[:2] for s in (0.05, 0.1)}


def test_only_what_is_missing_or_outdated_is_made(run, reads):
    reconstruct(run, [(256, 0.03)])
    reads.clear()
    paths = reconstruct(run, [(256, 0.03), (64, 0.07), (64, 0.07)])
    assert reads == {snapshot_name(64, s): 1 for s in (0.05, 0.1)} and paths[1] == paths[2]


def test_the_models_of_a_job_are_made_in_one_read_of_each_run(run, reads, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(run / "snapshots", other / "snapshots")
    (tmp_path / "file.pkl").touch()
    refs = [ModelRef(path=str(path), ema=ema) for path in (run, other) for ema in (0.03, 0.07)]
    reconstruct_for([*refs, ModelRef(), ModelRef(path=str(tmp_path / "file.pkl"))])
    assert set(reads.values()) == {2}, "once for each run"
    reads.clear()
    assert [find_or_reconstruct(ref.path, None, ref.ema).parent.parent for ref in refs] == [run, run, other, other]
    assert not reads


def live_bytes():
    """Bytes of all float32 tensors in memory besides views."""
    storages = {}
    for tensor in gc.get_objects():
        if type(tensor) not in (
            torch.Tensor,
            torch.nn.Parameter,
        ):  # of others, fake ones among them, torch.compile keeps some
            continue
        if tensor.device.type == "cpu" and tensor.dtype == torch.float32:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(storages.values())


@pytest.mark.filterwarnings("ignore")  # of objects that do not like to be looked at
def test_memory_stays_within_the_budget_whatever_the_number_of_targets(run, monkeypatch):
    one = 4 * sum(tensor.numel() for tensor in INFO.build().state_dict().values())
    targets = [(256, s) for s in (0.02, 0.03, 0.04, 0.06, 0.07, 0.08)]
    before, most, reads = live_bytes(), [], Counter()
    last = stored_snapshots(run)[-1].path  # at which all sums are there

    def read(path):
        reads[path.name] += 1
        if path == last:
            most.append(live_bytes() - before)
        return read_tensors(path)

    monkeypatch.setattr(posthoc, "read_tensors", read)
    for room, passes in ((6, 1), (2, 3), (0.5, 6)):
        clear(run)
        most.clear()
        reads.clear()
        reconstruct(run, targets, memory=int(room * one))
        assert set(reads.values()) == {passes}
        assert 0.9 * max(1, room) * one < max(most) < 1.1 * max(1, room) * one


def test_damage_is_named_and_nothing_is_written(run):
    victim = run / "snapshots" / snapshot_name(128, 0.1)
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.write_bytes(data)
    with pytest.raises(UserError, match=r"128-ema0.1.safetensors is damaged"):
        reconstruct(run, [(64, 0.07), (256, 0.07)])
    assert not list((run / "posthoc").glob("*.safetensors"))
    for targets, message in [
        ([(64, 0.07), (100, 0.1)], "no snapshot at nimg 100"),
        ([(64, 0.07), (64, 0.5)], "is 0.5"),
    ]:
        with pytest.raises(UserError, match=message):
            reconstruct(run, targets)
    assert not list((run / "posthoc").glob("*.safetensors")), "all targets are checked before the first is made"


def test_of_several_processes_one_does_the_work(run, monkeypatch):
    def slowly(path, *args, **kwargs):
        time.sleep(0.5)  # until the other waits
        save_snapshot(path, *args, **kwargs)
        with open(run / "made", "a") as f:
            f.write(f"{path.name}\n")

    monkeypatch.setattr(posthoc, "save_snapshot", slowly)
    fork = multiprocessing.get_context("fork")
    started = [fork.Process(target=find_or_reconstruct, args=(run, None, 0.07)) for _ in range(2)]
    for process in started:
        process.start()
    for process in started:
        process.join(60)
        assert process.exitcode == 0
    assert (run / "made").read_text() == "256-ema0.07.safetensors\n"
