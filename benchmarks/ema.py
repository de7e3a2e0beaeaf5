"""The update of both EMA profiles beside a loop over the tensors, and post-hoc reconstruction beside the disk's own speed.

python benchmarks/ema.py                                     # a small network, seconds on a CPU
python benchmarks/ema.py --size S --snapshots 16             # 18 GB of files in the temporary folder

Update: FLOP are 3 an element and profile; GB/s counts two reads and a write. Reconstruction: `reconstruct` of one length from
both profiles' snapshots, and of four lengths in the same read; the baseline loads one file after the other (safetensors'
load_file) and adds it up tensor by tensor, in memory; ours writes its file, too. The disk is measured by reading the files,
with their pages dropped before (cold) or not (warm); how much of them was in memory is asked of the system (mincore). Parity:
relative root mean square difference of the weights.
"""

import argparse
import copy
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from harness import Parity, Report, relative_error
from models import SIZES, config, make, shape
from options import parser
from pagecache import drop, read, resident
from safetensors.torch import load_file
from timing import Spread, in_turns, memory_of, ratio, seconds

from edm2lite.network.denoiser import Denoiser
from edm2lite.snapshots.files import SnapshotInfo, save_snapshot
from edm2lite.snapshots.index import snapshot_name, stored_snapshots
from edm2lite.snapshots.posthoc import reconstruct
from edm2lite.snapshots.power_function import posthoc_coefficients, power_function_beta
from edm2lite.training.power_ema import PowerEMA

BATCH, EVERY = 2048, 2048 * 64
PROFILES = (0.05, 0.10)
WANTED = (0.07, 0.12, 0.15, 0.20)


def update(net: Denoiser, report: Report, repeats: int) -> None:
    """Both profiles once."""
    ours = PowerEMA(net, PROFILES)
    for average in ours.averages.values():
        for tensor in average:
            tensor.mul_(0.5)
    theirs = copy.deepcopy(ours.averages)

    @torch.no_grad()
    def loop() -> None:
        for sigma_rel, average in theirs.items():
            weight = 1 - power_function_beta(sigma_rel, EVERY, BATCH)
            for a, p in zip(average, ours.params, strict=True):
                a.lerp_(p, weight)

    def foreach() -> None:
        ours.update(EVERY, BATCH)

    elements = 2 * sum(p.numel() for p in ours.params)
    spent = in_turns({"baseline": loop, "ours": foreach}, report.device, repeats)
    flat = [torch.cat([t.flatten() for a in some.values() for t in a]) for some in (ours.averages, theirs)]
    for name, what in (("baseline", "update, loop over tensors"), ("ours", "update, foreach")):
        columns: dict[str, Any] = {"s": spent[name], "GFLOP/s": 3 * elements / spent[name].median / 1e9}
        columns |= {
            "GB/s": 12 * elements / spent[name].median / 1e9,
            "times the baseline": ratio(spent[name], spent["baseline"]),
        }
        report.add(what, columns, None if name == "baseline" else Parity(relative_error(*flat), 1e-6))


def write_run(run: Path, net: Denoiser, args: argparse.Namespace) -> int:
    """Snapshots of both profiles at so many times, each of other weights; their bytes."""
    resolution, channels, classes = shape(args.size, args.data)[:3]
    info = SnapshotInfo(
        img_resolution=resolution,
        img_channels=channels,
        label_dim=classes,
        network=config(args.size, args.data).network,
    )
    state = {name: tensor.cpu().contiguous() for name, tensor in net.state_dict().items()}
    trained = {name for name, _ in net.named_parameters()}
    for i in range(1, args.snapshots + 1):
        for sigma_rel in PROFILES:
            tensors = {name: t + 0.1 * i * sigma_rel if name in trained else t for name, t in state.items()}
            save_snapshot(
                run / "snapshots" / snapshot_name(i * EVERY, sigma_rel), tensors, info.at(i * EVERY, sigma_rel)
            )
    return sum(path.stat().st_size for path in (run / "snapshots").iterdir())


def plainly(run: Path, sigma_rel: float) -> dict[str, torch.Tensor]:
    """One file after the other, whole, tensor by tensor."""
    stored, sums = stored_snapshots(run), dict[str, torch.Tensor]()
    times = [s.nimg for s in stored]
    column = posthoc_coefficients(times, [s.sigma_rel for s in stored], [max(times)], [sigma_rel])[:, 0]
    for s, coefficient in zip(stored, column, strict=True):
        for name, tensor in load_file(s.path).items():
            sums[name] = sums.get(name, 0) + tensor * float(coefficient)
    return sums


def differences(run: Path, names: list[str], lengths: Sequence[float], made: Sequence[Path]) -> Iterator[float]:
    """How far each file is from the plain loop's sums."""
    for sigma_rel, path in zip(lengths, made, strict=True):
        pair = load_file(path), plainly(run, sigma_rel)
        yield relative_error(*(torch.cat([t[n].float().flatten() for n in names]) for t in pair))


def reconstruction(net: Denoiser, args: argparse.Namespace, report: Report) -> None:
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        run = Path(folder) / "run"
        size = write_run(run, net, args)
        paths, last = sorted((run / "snapshots").iterdir()), args.snapshots * EVERY
        made: list[Path] = []

        def ours(lengths: Sequence[float]) -> None:
            for path in made:
                path.unlink(missing_ok=True)
            made[:] = reconstruct(run, [(last, sigma_rel) for sigma_rel in lengths])

        runs: dict[str, Callable[[], Any]] = {
            "the disk itself": lambda: read(paths),
            "loop over files": lambda: plainly(run, WANTED[0]),
            "one length": lambda: ours(WANTED[:1]),
            "four lengths": lambda: ours(WANTED),
        }
        ours(WANTED)  # warms up
        for cold in (True, False):
            shares: dict[str, list[float]] = {name: [] for name in runs}
            times: dict[str, list[float]] = {name: [] for name in runs}
            for _ in range(args.repeats):
                for name, call in runs.items():
                    shares[name].append(drop(paths) if cold else resident(paths))
                    times[name].append(seconds(call, torch.device("cpu")))
            for name in runs:
                spent = Spread(tuple(times[name]))
                columns: dict[str, Any] = {
                    "s": spent,
                    "GB/s": size / spent.median / 1e9,
                    "in memory before": max(shares[name]),
                }
                columns["of the disk's speed"] = ratio(spent, Spread(tuple(times["the disk itself"])))
                parity = None
                if name.endswith(("length", "lengths")):
                    if name == "one length":
                        columns["times the baseline"] = ratio(spent, Spread(tuple(times["loop over files"])))
                    lengths = WANTED[:1] if name == "one length" else WANTED
                    ours(lengths)
                    names = [n for n, _ in net.named_parameters()]
                    parity = Parity(max(differences(run, names, lengths, made)), 1e-5)
                report.add(f"{name}, {'cold' if cold else 'warm'}", columns, parity)
        report.note("Each length is written to disk, too, and waited for (fsync); the loop keeps its one in memory.")
        what, peak = memory_of(lambda: ours(WANTED), torch.device("cpu"))
        report.note(
            f"Reconstruction reads {len(paths)} files, {size / 1e9:.3g} GB; four lengths at once: {what}: {peak or 0:.3g}."
        )


def main() -> int:
    p = parser(__doc__, repeats=3)
    p.add_argument("--size", choices=SIZES, default="digits")
    p.add_argument("--data", type=int, choices=(64, 512), default=512)
    p.add_argument("--snapshots", type=int, default=16, help="times at which both profiles were stored")
    p.add_argument(
        "--folder", default=None, help="where the files are written for a while; default: the temporary folder"
    )
    args = p.parse_args()
    report = Report(f"ema-{args.size}", args)
    net = make(args.size, args.data, report.device)
    report.attempt("update", lambda: update(net, report, args.repeats))
    report.attempt("reconstruction", lambda: reconstruction(net, args, report))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
