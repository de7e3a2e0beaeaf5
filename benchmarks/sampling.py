"""Guided images a second, beside the plain eager loop over two networks.

python benchmarks/sampling.py                                        # the digits pair, a minute or two on a CPU
python benchmarks/sampling.py --compile --dtype fp32,bf16
python benchmarks/sampling.py --pair S+XS --data 512 --batch 32,64,128 --dtype fp16,bf16 --compile      # for a GPU
python benchmarks/sampling.py --interval 0.28,2.90                   # the guide in an interval alone

plain: networks as they are trained, in channels_last; prepared: Denoiser.optimize(compile=False); compiled: optimize().
Heun's 2 steps - 1 evaluations, w = 2. FLOP are those of the evaluations that a variant makes: with an interval it leaves guides
out, the baseline does not. Compilation is in a column of its own. Parity: root mean square difference of the images from the
baseline's in the same dtype, relative; the baseline's own row has that from its fp32 images. Peak memory holds the weights of
all variants, for they take turns.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from baseline import baseline, sample_plainly
from harness import Parity, Report, relative_error
from models import SIZES, make
from options import integers, listed, parser
from timing import in_turns, memory_of, ratio, seconds
from torch import Tensor

from edm2lite import load_denoiser
from edm2lite.config import GuidanceConfig, GuideConfig, ModelRef, SamplerConfig
from edm2lite.guidance.weights import weight_function
from edm2lite.network.cost import meta_denoiser, multiply_adds
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.precision import compute_dtype
from edm2lite.sampling.compose import Parts, compose, count_evaluations
from edm2lite.sampling.noise_levels import noise_levels
from edm2lite.sampling.seeded import seeded_noise
from edm2lite.sampling.solve import solve

# Guidance enlarges what rounding does to each of two networks 2 w - 1 = 3 times at every evaluation.
TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2, "bf16": 2e-1}
DEMO = Path(__file__).parents[1] / "runs" / "demo"


def arguments() -> argparse.Namespace:
    p = parser(__doc__, repeats=3)
    p.add_argument(
        "--pair", default=None, help=f"MAIN+GUIDE of {', '.join(SIZES)}; digits: digits-main and digits-small"
    )
    p.add_argument("--data", type=int, choices=(64, 512), default=512)
    p.add_argument("--batch", type=integers, default=None, help="images at a time; several to find the fastest")
    p.add_argument("--steps", type=int, default=32)
    p.add_argument("--weight", type=float, default=2.0)
    p.add_argument("--interval", default=None, help="LO,HI: guide for sigma in (LO, HI] alone")
    p.add_argument("--dtype", type=listed, default=None)
    p.add_argument("--compile", action="store_true", help="also the compiled networks")
    args = p.parse_args()
    cuda = torch.device(args.device).type == "cuda"
    args.pair = args.pair or ("S+XS" if cuda else "digits")
    args.batch = args.batch or [64]
    args.dtype = args.dtype or (["fp16", "bf16"] if cuda else ["fp32"])
    args.compile = args.compile or cuda
    return args


class Case:
    """One pair at one batch size and dtype."""

    def __init__(self, args: argparse.Namespace, report: Report, nets: list[Denoiser], batch: int, dtype: str):
        self.args, self.report, self.batch, self.dtype, self.device = args, report, batch, dtype, report.device
        self.nets = nets
        for net in nets:
            net.compute_dtype = compute_dtype(dtype)
        first = nets[0]
        image = (first.img_channels, first.img_resolution, first.img_resolution)
        self.noise, self.labels = seeded_noise(range(batch), image, first.label_dim, self.device)
        self.macs = [_multiply_adds(net) for net in nets]
        interval = tuple(map(float, args.interval.split(","))) if args.interval else None
        self.guide = GuideConfig(path="guide", weight=args.weight, interval=interval)

    def plain(self, nets: list[Denoiser], steps: int) -> Tensor:
        sigmas = noise_levels(SamplerConfig(num_steps=steps)).tolist()
        return sample_plainly(*nets, weight_function(self.guide, sigmas[:-1]), self.noise, self.labels, sigmas)

    def ours(self, nets: list[Denoiser], steps: int) -> Tensor:
        sampler = SamplerConfig(num_steps=steps)
        denoise = compose(self.parts(nets), GuidanceConfig(), sampler, range(self.batch))
        return solve(sampler, denoise, self.noise, labels=self.labels)

    def parts(self, nets: list[Denoiser]) -> Parts:
        return Parts(main=(nets[0], ModelRef()), guides=[(nets[1], self.guide)])

    @torch.no_grad()
    def run(self) -> None:
        """All variants in turns, each against the baseline's images."""
        variants = self.variants()
        found = {name: self.first(name, sample) for name, sample in list(variants.items())}
        found = {name: first for name, first in found.items() if first is not None}
        if "baseline" not in found:  # out of memory or time, as its row says
            return
        runs = {name: (lambda name=name: variants[name](self.args.steps)) for name in found}
        spent = in_turns(runs, self.device, self.args.repeats, warmup=0)
        sampler = SamplerConfig(num_steps=self.args.steps)
        counts = count_evaluations(self.parts(self.nets), GuidanceConfig(), sampler)
        for name, (images, compiling, memory) in found.items():
            evaluations = (
                [2 * self.args.steps - 1] * 2 if name == "baseline" else [counts["main"], counts.get("guide", 0)]
            )
            flops = 2.0 * sum(n * macs for n, macs in zip(evaluations, self.macs, strict=True))
            columns = {"batch": self.batch, "dtype": self.dtype, "evaluations": f"{evaluations[0]} + {evaluations[1]}"}
            columns |= self.report.speed(spent[name], self.batch, flops, self.dtype)
            columns["times the baseline"] = ratio(spent[name], spent["baseline"])
            columns |= {"compiling, s": compiling, memory[0]: memory[1]}
            self.report.add(name, columns, self.parity(name, images, found["baseline"][0]))

    def variants(self) -> dict[str, Callable[[int], Tensor]]:
        """Samplers by name, from a number of steps to images."""
        plain = [baseline(net) for net in self.nets]
        prepared = [net.optimize(compile=False) for net in self.nets]
        made: dict[str, Callable[[int], Tensor]] = {
            "baseline": lambda steps: self.plain(plain, steps),
            "plain": lambda steps: self.ours(self.nets, steps),
            "prepared": lambda steps: self.ours(prepared, steps),
        }
        if self.args.compile:
            compiled = [net.optimize() for net in self.nets]
            made["compiled"] = lambda steps: self.ours(compiled, steps)
        return made

    def first(self, name: str, sample: Callable[[int], Tensor]) -> tuple[Tensor, float | None, tuple[str, Any]] | None:
        """Images, seconds of compiling, and peak memory of a variant; None if it fails, which the report then says."""
        found: list[Any] = []

        def run() -> None:
            once = seconds(lambda: sample(2), self.device)
            compiling = max(0.0, once - seconds(lambda: sample(2), self.device)) if name == "compiled" else None
            memory = memory_of(lambda: found.append(sample(self.args.steps).float().cpu()), self.device)
            found.extend([compiling, memory])

        self.report.attempt(f"{name}, {self.dtype}, batch {self.batch}", run, release=False)
        return tuple(found) if len(found) == 3 else None  # type: ignore[return-value]

    def parity(self, name: str, images: Tensor, plain: Tensor) -> Parity | None:
        if name != "baseline":
            return Parity(relative_error(images, plain), TOLERANCES[self.dtype])
        if self.dtype == "fp32":
            return None
        exact = [baseline(net) for net in self.nets]
        for net in exact:
            net.compute_dtype = compute_dtype("fp32")
        return Parity(relative_error(plain, self.plain(exact, self.args.steps).cpu()), TOLERANCES[self.dtype])


def _multiply_adds(net: Denoiser) -> int:
    return multiply_adds(meta_denoiser(net.img_resolution, net.img_channels, net.label_dim, net.network))


def networks(args: argparse.Namespace, report: Report) -> list[Denoiser]:
    """Main and guide: those of the demo if they are trained, else random ones."""
    device = report.device
    if args.pair == "digits":
        if (DEMO / "digits-main" / "snapshots").is_dir() and (DEMO / "digits-small" / "snapshots").is_dir():
            nets = [load_denoiser(DEMO / "digits-main"), load_denoiser(DEMO / "digits-small")]
            return [net.to(device, memory_format=torch.channels_last) for net in nets]
        report.note("runs/demo/digits-main is not trained: random weights, gains 0.7.")
        return [make("digits", 64, device), make("digits-small", 64, device, seed=1)]
    sizes = args.pair.split("+")
    if len(sizes) != 2 or not set(sizes) <= set(SIZES):
        raise SystemExit(f"error: --pair is {args.pair}; allowed are digits, or two of {', '.join(SIZES)} as in S+XS")
    report.note("Random weights, gains 0.7.")
    return [make(size, args.data, device, seed=i) for i, size in enumerate(sizes)]


def main() -> int:
    args = arguments()
    report = Report(f"sampling-{args.pair}", args)
    nets = networks(args, report)
    for dtype in args.dtype:
        for batch in args.batch:
            report.attempt(f"{dtype}, batch {batch}", lambda d=dtype, b=batch: Case(args, report, nets, b, d).run())
    rows = [row for row in report.rows if "images/s" in row]
    for kind in dict.fromkeys(row["what"] for row in rows if len(args.batch) > 1):
        best = max((row for row in rows if row["what"] == kind), key=lambda row: row["images/s"])
        report.note(f"{kind}: fastest at batch {best['batch']} in {best['dtype']}, {best['images/s']:.3g} images/s.")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
