"""Guided images a second, beside the naive loop: two eager networks in the default memory layout at every evaluation.

python benchmarks/guidance.py                                  # a tiny pair, about a minute on a CPU
python benchmarks/guidance.py --size S --guide XS --batch 32   # EDM2-S guided by EDM2-XS on ImageNet-512 latents, for a GPU

Prints a Markdown table: images a second of both (median of the repeats, taken in turns), their ratio, the evaluations of main
and guide, the largest difference of the images relative to their largest value.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from itertools import pairwise

import torch
from basics import SIZES, make
from torch import Tensor

from edm2lite.config import GuidanceConfig, GuideConfig, ModelRef, SamplerConfig
from edm2lite.guidance.weights import weight_function
from edm2lite.network.denoiser import Denoiser
from edm2lite.sampling.compose import Parts, compose, count_evaluations
from edm2lite.sampling.noise_levels import noise_levels
from edm2lite.sampling.seeded import SeededStreams
from edm2lite.sampling.solve import solve

REPEATS = 5
SETTINGS = {  # name: settings of the guide
    "constant weight": {},
    "interval (0.28, 2.90]": {"interval": (0.28, 2.90)},
    "interval (0.60, 5.00]": {"interval": (0.60, 5.00)},
}


def naive(
    main: Denoiser, guide: Denoiser, cfg: GuideConfig, noise: Tensor, labels: Tensor, sampler: SamplerConfig
) -> Tensor:
    """Heun's loop as in the papers' pseudocode: both networks at every evaluation, whatever the weight."""
    sigmas = noise_levels(sampler).tolist()
    weight = weight_function(cfg, sigmas[:-1])

    def slope(x: Tensor, sigma: float) -> Tensor:
        level = torch.tensor(sigma, device=x.device)
        reference = guide(x, level, labels)
        return (x - (reference + weight(sigma) * (main(x, level, labels) - reference))) / sigma

    x = noise * sigmas[0]
    for sigma, after in pairwise(sigmas):
        d = slope(x, sigma)
        euler = x + (after - sigma) * d
        x = x + (after - sigma) * (d + slope(euler, after)) / 2 if after else euler
    return x


def seconds(run: Callable[[], Tensor], device: torch.device) -> tuple[float, Tensor]:
    start = time.perf_counter()
    images = run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, images


@torch.no_grad()
def compare(args: argparse.Namespace, settings: dict) -> list[str]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    plain, cfg = (
        [make(size, device) for size in (args.size, args.guide)],
        GuideConfig(path="guide", weight=2.1, **settings),
    )
    ours = [make(size, device).to(memory_format=torch.channels_last) for size in (args.size, args.guide)]
    for net in (*plain, *ours):
        net.compute_dtype = getattr(torch, args.dtype)
    sampler, seeds = SamplerConfig(num_steps=args.steps), range(args.batch)
    streams = SeededStreams(seeds, device)
    noise = streams.randn((plain[0].img_channels, plain[0].img_resolution, plain[0].img_resolution))
    labels = streams.randint(plain[0].label_dim)
    parts = Parts(main=(ours[0], ModelRef()), guides=[(ours[1], cfg)])
    denoise = compose(parts, GuidanceConfig(), sampler, seeds)
    runs = [
        lambda: solve(sampler, denoise, noise, labels=labels),
        lambda: naive(*plain, cfg, noise, labels, sampler),
    ]
    times: list[list[float]] = [[], []]
    images: list[Tensor] = []
    for _ in range(REPEATS + 1):  # the first warms up; in turns, so that a busy machine is busy for both
        images = []
        for kept, run in zip(times, runs, strict=True):
            spent, result = seconds(run, device)
            kept.append(spent)
            images.append(result)
    speeds = [args.batch / statistics.median(kept[1:]) for kept in times]
    ratios = sorted(b / a for a, b in zip(times[0][1:], times[1][1:], strict=True))
    error = ((images[0] - images[1]).abs().max() / images[1].abs().max()).item()
    counts = count_evaluations(parts, GuidanceConfig(), sampler)
    return [
        f"{speeds[0]:.3g}", f"{speeds[1]:.3g}", f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} ... {ratios[-1]:.2f})",
        f"{counts['main']} + {counts['guide']}", f"{error:.1e}",
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--guide", choices=SIZES, default="tiny")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=32)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="float32")
    args = parser.parse_args()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    print(
        f"{device}, {torch.get_num_threads()} threads, torch {torch.__version__}, main {args.size}, guide {args.guide}, "
        f"batch {args.batch}, Heun {args.steps} steps, {args.dtype}\n"
    )
    print("| guidance | img/s | naive img/s | ratio (min ... max) | evaluations main + guide | relative difference |")
    print("|---|---|---|---|---|---|")
    for name, settings in SETTINGS.items():
        print(f"| {name} | {' | '.join(compare(args, settings))} |", flush=True)


if __name__ == "__main__":
    main()
