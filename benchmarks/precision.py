"""What half precision costs in accuracy: the denoiser's error over the noise level, and the Frechet distance of its images.

python benchmarks/precision.py --quick                          # two minutes on a CPU
python benchmarks/precision.py                                  # 9000 images of the digits pair, many minutes on two cores

Error: root mean square of D(x; sigma) in fp16 or bf16 less that in fp32, over that in fp32, with x = y + sigma n; y are digits,
or normal of deviation 0.5 for random networks. Frechet distance: the digits pair with Heun's sampler, blocks of seeds, the same
ones in each precision, in the features of the digits' classifier; the difference from fp32 is paired by block, with its
standard error and 95 % interval. bf16 may be the default if that holds 0 and is no wider than 1 % of the distance either side.
Parity only catches networks that are broken.
"""

import argparse
import math
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import torch
from harness import Parity, Report, relative_error
from models import config, randomize
from options import parser as options
from timing import Spread
from torch import Tensor

from edm2lite import load_denoiser
from edm2lite.config import GuidanceConfig, ModelRef, SamplerConfig, parse_metric
from edm2lite.data.digits import load_digits
from edm2lite.data.encoders import make_encoder
from edm2lite.evaluation.detectors.load import load_detector
from edm2lite.evaluation.metrics.frechet import FrechetReference
from edm2lite.evaluation.metrics.scoring import scores
from edm2lite.evaluation.metrics.uncertainty import Difference, paired_difference, student
from edm2lite.evaluation.reference import Statistics
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.precision import DTYPES, compute_dtype
from edm2lite.sampling.noise_levels import karras_sigmas
from edm2lite.sampling.pair import load_pair

DEMO = Path(__file__).parents[1] / "runs" / "demo"
HALF = ("fp16", "bf16")
BROKEN = {"fp16": 2e-2, "bf16": 2e-1}  # more than rounding explains


def trained(name: str) -> bool:
    return (DEMO / name / "snapshots").is_dir()


def networks(device: torch.device) -> dict[str, tuple[Denoiser, Tensor]]:
    """Denoisers by name, each with images for it, [B, C, H, W]."""
    data, found = load_digits(), dict[str, tuple[Denoiser, Tensor]]()
    digits = make_encoder(data.encoder).encode(torch.from_numpy(data.images[:256]))
    for name in ("digits-main", "digits-small"):
        if trained(name):
            found[name] = load_denoiser(DEMO / name), digits
    torch.manual_seed(0)
    like_s = replace(config("S", 512).network, model_channels=32, channels_per_head=32)
    found["random, like S, 32 channels"] = randomize(Denoiser(32, 4, 10, like_s)), 0.5 * torch.randn(2, 4, 32, 32)
    return {
        name: (net.to(device, memory_format=torch.channels_last), images.to(device))
        for name, (net, images) in found.items()
    }


@torch.no_grad()
def errors(report: Report, levels: int) -> None:
    """A row for each noise level."""
    nets = networks(report.device)
    for sigma in karras_sigmas(levels).tolist()[:-1]:
        for name, (net, images) in nets.items():
            noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0)).to(images)
            labels = torch.zeros(len(images), dtype=torch.int64, device=images.device) if net.label_dim else None
            results = {}
            for dtype in DTYPES:
                net.compute_dtype = compute_dtype(dtype)
                results[dtype] = net(images + sigma * noise, sigma, labels)
            found = {dtype: relative_error(results[dtype], results["fp32"]) for dtype in HALF}
            worst = max(HALF, key=lambda dtype: (math.isnan(found[dtype]), found[dtype] / BROKEN[dtype]))
            columns = {"network": name, "sigma": sigma} | {f"error, {dtype}": error for dtype, error in found.items()}
            report.add(f"D, sigma {sigma:.3g}", columns, Parity(found[worst], BROKEN[worst]))


def blocks(dtype: str, args: argparse.Namespace, reference: Statistics) -> tuple[list[float], Tensor]:
    """Frechet distances of the blocks of seeds, and the first images, float32 [B, C, H, W]."""
    main, guide = ModelRef(path=str(DEMO / "digits-main")), ModelRef(path=str(DEMO / "digits-small"))
    pair = load_pair(main, guide, GuidanceConfig(weight=args.weight), device=args.device, precision=dtype)
    detector, metric = load_detector("digits", device=args.device), parse_metric("fd_digits")
    gaussian = FrechetReference(torch.as_tensor(reference.mu), torch.as_tensor(reference.sigma))
    distances, first = list[float](), torch.empty(0)
    for block in range(args.blocks):
        seeds, features = range(block * args.seeds, (block + 1) * args.seeds), []
        for samples in pair.sample(seeds, SamplerConfig(num_steps=args.steps), args.batch):
            first = samples.images.float().cpu() if not first.numel() else first
            features.append(detector(samples.pixels).cpu())
        distances.append(scores([metric], torch.cat(features), reference, reference=gaussian)[metric].value)
    return distances, first


def images(report: Report, args: argparse.Namespace) -> None:
    """A row for each precision, and the verdicts."""
    if not (trained("digits-main") and trained("digits-small")):
        return report.skip("Frechet distance", "train configs/digits/main.yaml and small.yaml first")
    x = load_detector("digits")(torch.from_numpy(load_digits().images)).double()
    reference = Statistics(mu=x.mean(0).numpy(), sigma=x.T.cov().numpy(), num_images=len(x))
    exact, pictures = blocks("fp32", args, reference)
    report.add("images, fp32", {"FD, by block": Spread(tuple(exact)), "FD": fmean(exact)}, None)
    for dtype in HALF:
        distances, others = blocks(dtype, args, reference)
        apart = paired_difference(exact, distances)
        columns = {
            "FD, by block": Spread(tuple(distances)), "FD": fmean(distances), "difference": apart.mean,
            "standard error": apart.se, "+- (95 %)": student(apart.degrees) * apart.se,
        }  # fmt: skip
        report.add(f"images, {dtype}", columns, Parity(relative_error(others, pictures), BROKEN[dtype]))
        report.note(verdict(dtype, apart, fmean(exact)))
    return None


def verdict(dtype: str, apart: Difference, distance: float) -> str:
    """Whether a precision may be the default, from its paired difference from fp32."""
    width = student(apart.degrees) * apart.se
    seen = f"FD {apart.mean:+.2g} +- {width:.2g} (95 %) of {distance:.3g}"
    if abs(apart.mean) > width:
        return f"{dtype} may not be the default: {seen}."
    if width > 0.01 * distance:
        return f"{dtype} may not be the default yet: {seen}, too wide to see a change of 1 %."
    return f"{dtype} may be the default: {seen}."


def main() -> int:
    p = options(__doc__)
    p.add_argument("--quick", action="store_true", help="200 seeds a block, 12 steps")
    p.add_argument("--levels", type=int, default=16, help="noise levels from 80 to 0.002")
    p.add_argument("--blocks", type=int, default=3)
    p.add_argument("--seeds", type=int, default=1000, help="of a block")
    p.add_argument("--steps", type=int, default=32)
    p.add_argument("--batch", type=int, default=250)
    p.add_argument("--weight", type=float, default=2.0)
    args = p.parse_args()
    if args.quick:
        args.seeds, args.steps, args.batch = 200, 12, 200
    report = Report("precision", args, peak=False)
    report.attempt("errors", lambda: errors(report, args.levels))
    report.attempt("images", lambda: images(report, args))
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
