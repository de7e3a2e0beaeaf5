"""Where the time of a training step and of guided sampling goes: torch.profiler's table of the costliest kernels.

python benchmarks/profile_steps.py                                                           # a tiny network on a CPU
python benchmarks/profile_steps.py --size S --guide XS --batch 128 --dtype fp16 --compile    # for a GPU
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from harness import Report
from models import SIZES, config, make, shape, training_config
from options import parser
from steps import real_path, synthetic
from timing import synchronize
from torch.profiler import ProfilerActivity, profile

from edm2lite.config import DataConfig, GuidanceConfig, GuideConfig, ModelRef, SamplerConfig, TrainConfig, TrainerConfig
from edm2lite.network.precision import compute_dtype
from edm2lite.sampling.compose import Parts, compose
from edm2lite.sampling.seeded import seeded_noise
from edm2lite.sampling.solve import solve


def profiled(report: Report, what: str, run: Callable[[], Any], rows: int) -> None:
    """A table of one call, after another that warms up: by time on the device, summed over equal kernels."""
    cuda = report.device.type == "cuda"
    run()
    synchronize(report.device)
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if cuda else [])]) as found:
        run()
        synchronize(report.device)
    key = "self_device_time_total" if cuda else "self_cpu_time_total"
    table = found.key_averages().table(sort_by=key, row_limit=rows, max_name_column_width=70)
    report.note(f"## {what}\n\n```\n{table.strip()}\n```")


def training(report: Report, args: argparse.Namespace) -> None:
    """One bare step of the real module."""
    cfg = TrainConfig(
        training=training_config(args.size, args.data, args.batch, precision=args.dtype, compile=args.compile),
        network=replace(config(args.size, args.data).network, dropout=0.0), data=DataConfig(name="synthetic"),
        trainer=TrainerConfig(accelerator="gpu" if report.device.type == "cuda" else "cpu", lock=False),
    )  # fmt: skip
    net = make(args.size, args.data, report.device, compute_dtype(args.dtype))
    dataset = synthetic(shape(args.size, args.data), 4 * args.batch)
    with tempfile.TemporaryDirectory() as folder:
        what = f"Training step, {args.size}, batch {args.batch}, {args.dtype}"
        real_path(
            net, replace(cfg, run_dir=folder), dataset, 1, 1, 2,
            inspect=lambda step: profiled(report, what, step, args.rows),
        )  # fmt: skip


@torch.no_grad()
def sampling(report: Report, args: argparse.Namespace) -> None:
    """Two of Heun's steps: three evaluations of both networks."""
    dtype = compute_dtype(args.dtype)
    nets = [make(size, args.data, report.device, dtype, seed=i) for i, size in enumerate((args.size, args.guide))]
    nets = [net.optimize(compile=args.compile) for net in nets]
    first, sampler = nets[0], SamplerConfig(num_steps=2)
    image = (first.img_channels, first.img_resolution, first.img_resolution)
    noise, labels = seeded_noise(range(args.batch), image, first.label_dim, report.device)
    parts = Parts(main=(nets[0], ModelRef()), guides=[(nets[1], GuideConfig(path="guide", weight=2.0))])
    denoise = compose(parts, GuidanceConfig(), sampler, range(args.batch))
    what = f"Two steps of guided sampling, {args.size} + {args.guide}, batch {args.batch}, {args.dtype}"
    profiled(report, what, lambda: solve(sampler, denoise, noise, labels=labels), args.rows)


def main() -> int:
    p = parser(__doc__)
    p.add_argument("--size", choices=SIZES, default="tiny")
    p.add_argument("--guide", choices=SIZES, default="tiny")
    p.add_argument("--data", type=int, choices=(64, 512), default=512)
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--dtype", choices=("fp32", "fp16", "bf16"), default="fp32")
    p.add_argument("--compile", action="store_true")
    p.add_argument("--rows", type=int, default=25, help="of a table")
    args = p.parse_args()
    report = Report(f"profile-{args.size}", args, peak=False)
    report.attempt("training", lambda: training(report, args))
    report.attempt("sampling", lambda: sampling(report, args))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
