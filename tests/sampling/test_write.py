"""sample.py: the same bytes from any number of processes, in any order, however often it is killed."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from edm2lite.config import GuidanceConfig, ModelRef, SampleConfig, SamplerConfig
from edm2lite.data.encoders import RGBEncoder
from edm2lite.errors import UserError
from edm2lite.sampling import generate as generate_module
from edm2lite.sampling import stores as stores_module
from edm2lite.sampling import write as write_module
from edm2lite.sampling.generate import Job, generate
from edm2lite.sampling.images import PIXELS, image_path
from edm2lite.sampling.reading import open_images
from edm2lite.sampling.stores import FolderStore, open_store
from edm2lite.sampling.write import sample
from tests.conftest import ROOT, run_script, tiny_denoiser
from tests.sampling.test_stores import made

SAMPLER = SamplerConfig(num_steps=5)


def config(run, outdir, seeds="0-19", **changes):
    changes = {"batch_size": 8, "sampler": SAMPLER, "main": ModelRef(path=str(run))} | changes
    return SampleConfig(outdir=str(outdir), seeds=seeds, device="cpu", **changes)


def images(outdir):
    return {int(p.stem): p.read_bytes() for p in outdir.glob("*/*.png")}


def status(outdir):
    return json.loads((outdir / "manifest.json").read_text())["status"]


@pytest.fixture(scope="module")
def all_at_once(tiny_run, tmp_path_factory):
    outdir = tmp_path_factory.mktemp("out") / "all"
    sample(config(tiny_run, outdir))
    return images(outdir)


@pytest.mark.parametrize("parts", [["0-4", "0-19"], ["13-19", "0-12"], ["19,3,7", "0-2,4-6,8-18"]])
def test_bytes_do_not_depend_on_split_resume_or_order(parts, tiny_run, all_at_once, tmp_path):
    for seeds in parts:
        sample(config(tiny_run, tmp_path / "out", seeds))
    assert images(tmp_path / "out") == all_at_once


def batches(net, seeds, batch_size):
    job = Job(
        denoiser=lambda seeds: net, shape=(1, 8, 8), label_dim=10, sampler=SAMPLER, batch_size=batch_size,
        decode=RGBEncoder().decode,
    )  # fmt: skip
    return generate(job, seeds)


def test_images_agree_over_batch_sizes_before_rounding():
    net, results = tiny_denoiser(label_dim=10), {}
    for batch_size in (1, 7, 64):
        seeds = list(range(70)) if batch_size != 7 else list(reversed(range(70)))
        results[batch_size] = dict(
            pair for b in batches(net, seeds, batch_size) for pair in zip(b.seeds, b.images, strict=True)
        )
    for seed in range(70):
        for batch_size in (7, 64):
            torch.testing.assert_close(results[batch_size][seed], results[1][seed], rtol=0, atol=1e-4)


def test_places_of_an_image_in_a_batch_give_the_same_bits():
    net, seeds = tiny_denoiser(label_dim=10), list(range(64))
    forward, backward = (next(batches(net, s, 64)) for s in (seeds, seeds[::-1]))
    assert torch.equal(forward.images, backward.images.flip(0))


def test_killed_halfway_the_same_command_goes_on(tiny_run, tmp_path, capsys):
    cfg = {"seeds": "0-159", "batch_size": 4, "sampler": SamplerConfig(num_steps=8)}
    sample(config(tiny_run, tmp_path / "whole", **cfg))
    out = tmp_path / "out"
    command = ["sample.py", f"--main.path={tiny_run}", "--seeds=0-159", "--batch_size=4", "--sampler.num_steps=8"]
    process = subprocess.Popen([sys.executable, *command, "--device=cpu", f"--outdir={out}"], cwd=ROOT)
    while len(images(out)) < 8:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.001)
    process.kill()
    process.wait()
    held = len(images(out))
    assert 8 <= held < 160 and status(out) == "incomplete"
    sample(config(tiny_run, out, **cfg))
    assert f"{held} of 160 images are there already" in capsys.readouterr().out
    assert images(out) == images(tmp_path / "whole")
    assert (out / "manifest.json").read_bytes() == (tmp_path / "whole" / "manifest.json").read_bytes()


def test_shards_fill_one_folder_and_the_last_completes_it(tiny_run, all_at_once, tmp_path, capsys):
    out = tmp_path / "out"
    for shard, held in (("2/3", 6), ("0/3", 13), ("2/3", 13)):
        sample(config(tiny_run, out, shard=shard))
        assert len(images(out)) == held and status(out) == "incomplete" and not (out / "contact_sheet.png").exists()
    assert "6 of 6 images are there already" in capsys.readouterr().out
    image_path(out, 3).unlink()  # shard 0 died
    sample(config(tiny_run, out, shard="1/3"))
    assert status(out) == "incomplete" and "shard 1/3 is done; other shards lack 1 images" in capsys.readouterr().out
    sample(config(tiny_run, out, shard="0/3"))
    assert images(out) == all_at_once and status(out) == "complete" and (out / "contact_sheet.png").exists()
    sample(config(tiny_run, out, "0-3", shard="7/8"))  # more shards than seeds
    assert images(out) == all_at_once and status(out) == "complete"


def test_a_late_or_larger_shard_cannot_leave_a_wrong_manifest(tiny_run, tmp_path):
    out = tmp_path / "out"
    sample(config(tiny_run, out, "0-3"))
    sample(config(tiny_run, out, "0-5", shard="0/2"))
    assert status(out) == "incomplete", "seed 5 is missing"
    sample(config(tiny_run, out, "0-5", shard="1/2"))
    assert status(out) == "complete"


def test_shards_agree_before_the_first_image(tiny_run, tmp_path):
    sample(config(tiny_run, tmp_path / "out", "0", shard="1/2"))
    with pytest.raises(UserError, match="num_steps"):
        sample(config(tiny_run, tmp_path / "out", "0", shard="0/2", sampler=SamplerConfig(num_steps=6)))
    sample(config(tiny_run, tmp_path / "out", "0", sampler=SamplerConfig(num_steps=6)))
    assert status(tmp_path / "out") == "complete"


def test_a_failed_start_leaves_the_folder_free(tiny_run, tmp_path):
    with pytest.raises(UserError, match="classes 0-9"):
        sample(config(tiny_run, tmp_path / "out", label=99))
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / ".manifest.json.1.tmp").touch()  # killed during the first write
    sample(config(tiny_run, tmp_path / "out", "0-3", label=9))
    (tmp_path / "out" / "notes").mkdir()
    (tmp_path / "out" / "notes" / "foo.png").touch()
    sample(config(tiny_run, tmp_path / "out", "0-5", label=9))
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["num_images"] == 6


def test_two_commands_that_begin_in_one_folder_do_not_mix(tiny_run, tmp_path, monkeypatch):
    """The second starts before the first has an image."""
    out, real, begun = tmp_path / "out", generate_module.solve, []

    def meanwhile(*arguments, **named):
        if not begun:
            begun.append(1)
            sample(config(tiny_run, out, "0-3", sampler=SamplerConfig(num_steps=6)))
        return real(*arguments, **named)

    monkeypatch.setattr(generate_module, "solve", meanwhile)
    with pytest.raises(UserError, match=r"sampler.num_steps \(6, now 5\)"):
        sample(config(tiny_run, out))
    assert sorted(images(out)) == [0, 1, 2, 3] and status(out) == "complete"


@pytest.mark.parametrize("form", ["png", "zip", "npz"])
def test_killed_between_images_and_latents_the_folder_is_not_free(form, tiny_run, tmp_path, monkeypatch):
    """Else latents made otherwise would lie beside the images of the next command."""
    real, kinds = stores_module.arrays, []

    def die(samples, kind):
        kinds.append(kind)
        if len(kinds) == 2:
            raise KeyboardInterrupt
        return real(samples, kind)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stores_module, "arrays", die)
        sample(config(tiny_run, tmp_path / "out", latents=True, format=form))
    with pytest.raises(UserError, match="num_steps"):
        sample(config(tiny_run, tmp_path / "out", latents=True, format=form, sampler=SamplerConfig(num_steps=6)))
    for name in ("out", "whole"):
        sample(config(tiny_run, tmp_path / name, latents=True, format=form))
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_parts_of_other_seeds_that_come_meanwhile_are_left_to_their_command(tiny_run, tmp_path, monkeypatch):
    out, real = tmp_path / "out", write_module.write_looks

    def meanwhile(*arguments):
        open_store(out, "zip", False).add(made([30, 31]))
        real(*arguments)

    monkeypatch.setattr(write_module, "write_looks", meanwhile)
    sample(config(tiny_run, out, format="zip"))
    assert json.loads((out / "manifest.json").read_text())["num_images"] == 20
    assert open_store(out, "zip", False).held() == {*range(20), 30, 31}


RANDOM = {  # everything that has randomness of its own
    "guidance": GuidanceConfig(weight=2.0),
    "sampler": SamplerConfig(num_steps=4, S_churn=10),
}


def files(outdir):
    return {str(p.relative_to(outdir)): p.read_bytes() for p in sorted(outdir.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(("form", "latents"), [("png", False), ("zip", True), ("npz", False)])
def test_every_byte_is_the_same_over_processes_and_orders(form, latents, tiny_run, tmp_path):
    guide = ModelRef(path=str(tiny_run), nimg=80, dropout=0.1, input_noise=0.1)
    main = ModelRef(path=str(tiny_run), dropout=0.05)
    changes = {"format": form, "latents": latents, "guide": guide, "main": main, **RANDOM}
    for name, shards in {"one": [None], "three": ["2/3", "0/3", "1/3"]}.items():
        for shard in shards:
            sample(config(tiny_run, tmp_path / name, "0-10", shard=shard, batch_size=4, **changes))
    assert files(tmp_path / "one") == files(tmp_path / "three") and status(tmp_path / "one") == "complete"
    for seeds in ("9,2", "10-10,5", "0-10"):
        sample(config(tiny_run, tmp_path / "parts", seeds, batch_size=4, **changes))
    assert files(tmp_path / "parts") == files(tmp_path / "one")


def test_images_do_not_depend_on_the_format(tiny_run, all_at_once, tmp_path):
    for form in ("zip", "npz"):
        sample(config(tiny_run, tmp_path / form, format=form))
        read = open_images(tmp_path / form).read
        for seed, content in all_at_once.items():
            assert PIXELS.encode(read(seed)) == content


def test_a_full_disk_is_one_line_and_the_same_command_goes_on(tiny_run, all_at_once, tmp_path, monkeypatch):
    out, real = tmp_path / "out", Path.write_bytes

    def full(self, content):
        if len(images(out)) == 9:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, content)

    with monkeypatch.context() as patch, pytest.raises(UserError, match=r"no space left .* run the same command again"):
        patch.setattr(Path, "write_bytes", full)
        sample(config(tiny_run, out))
    assert status(out) == "incomplete" and len(images(out)) == 9 and not list(out.rglob(".*.tmp"))
    sample(config(tiny_run, out))
    assert images(out) == all_at_once


def test_a_batch_is_written_while_the_next_is_computed(tiny_run, all_at_once, tmp_path, monkeypatch):
    real, add, computing, writers = generate_module.solve, FolderStore.add, [], []
    second = threading.Event()

    def solve(*arguments, **named):
        computing.append(1)
        if len(computing) == 2:
            second.set()
        return real(*arguments, **named)

    def behind(self, samples):
        writers.append((second.wait(20), threading.current_thread() is threading.main_thread()))
        add(self, samples)

    monkeypatch.setattr(generate_module, "solve", solve)
    monkeypatch.setattr(FolderStore, "add", behind)
    sample(config(tiny_run, tmp_path / "out"))
    assert writers == [(True, False)] * 3 and images(tmp_path / "out") == all_at_once


def test_the_bar_counts_what_is_written(tiny_run, tmp_path, monkeypatch):
    counted, out = [], tmp_path / "out"

    class Bar(nullcontext):
        def __enter__(self):
            return self

        def update(self, count):
            counted.append((count, len(images(out))))

    monkeypatch.setattr(write_module, "progress_bar", lambda *_, **__: Bar())
    sample(config(tiny_run, out))
    assert counted == [(8, 8), (8, 16), (4, 20)]


def test_a_halved_batch_is_in_the_manifest(tiny_run, tmp_path, monkeypatch):
    real, failed = generate_module.solve, []

    def out_of_memory_once(cfg, denoise, noise, **arguments):
        if not failed:
            failed.append(len(noise))
            raise torch.OutOfMemoryError
        return real(cfg, denoise, noise, **arguments)

    monkeypatch.setattr(generate_module, "solve", out_of_memory_once)
    sample(config(tiny_run, tmp_path / "out", "0-4", shard="0/2"))
    sample(config(tiny_run, tmp_path / "out", "0-4", shard="1/2"))  # another process did not run out of memory
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert failed == [8] and manifest["batch_size_halved_to"] == [4] and manifest["batch_size"] == 8
    sample(config(tiny_run, tmp_path / "fine", "0-4"))
    assert "batch_size_halved_to" not in json.loads((tmp_path / "fine" / "manifest.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("form", ["png", "zip", "npz"])
def test_processes_of_which_one_is_killed(form, tiny_run, tmp_path):
    """kill -9 of one of three leaves its remainder, which the same command on two makes; the bytes are those of one process."""
    command = ["sample.py", f"--main.path={tiny_run}", "--seeds=0-299", "--sampler.num_steps=8", "--batch_size=4"]
    command += ["--device=cpu", f"--format={form}", "--outdir"]
    assert run_script(*command, tmp_path / "one").returncode == 0
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, *command, str(out), "--devices=3"], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 100
    while len(open_store(out, form, False).held()) < 20:
        assert process.poll() is None and time.monotonic() < deadline
    child = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[1])
    os.kill(child, signal.SIGKILL)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 2 and "1 of 3 processes ended early (process 1: signal 9)" in errors
    held = len(open_store(out, form, False).held())
    assert 200 <= held < 300 and status(out) == "incomplete"
    done = run_script(*command, out, "--devices=2")
    assert done.returncode == 0, done.stderr
    assert files(out) == files(tmp_path / "one")
