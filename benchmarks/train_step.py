"""One training step, beside the plain eager baseline on the same data.

python benchmarks/train_step.py                                       # a tiny network, a minute on a CPU
python benchmarks/train_step.py --size digits --compile both
python benchmarks/train_step.py --size S --data 512 --batch 64,128,256 --dtype fp16 --compile both       # for a GPU

"trainer" is the real path: EDM2Module under Lightning's Trainer with its callbacks, the log and a data loader; "bare" is its
training step on a batch that is on the device already; the baseline is a plain loop over the same loader. FLOP are
2 x 3 x multiply-adds of a forward (recomputed ones are not counted). Parity, the root mean square difference from the
baseline's in the same dtype, relative: in the row of "trainer" of the losses of the first steps, in that of "bare" of how far
these steps moved the EMA profiles (parts of each tensor; Adam takes the sign of a gradient, also where that is rounding).
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from dataclasses import fields, replace
from functools import partial
from typing import Any

import torch
from baseline import PlainTraining, baseline
from harness import Parity, Report, relative_error
from models import SIZES, config, forward_flops, make, shape, training_config
from options import integers, listed, parser
from steps import batches, endless, real_path, sample_averages, synthetic
from timing import Spread, in_turns, memory_of, ratio

from edm2lite.config import DataConfig, TrainConfig, TrainerConfig, TrainingConfig
from edm2lite.network.precision import compute_dtype

# The loss differs by the order of sums in fp32; in half precision each layer rounds to 11 (fp16) or 8 (bf16) bits.
TOLERANCES = {"fp32": 1e-4, "fp16": 5e-3, "bf16": 2e-2}
MOVED = {"fp32": 1e-3, "fp16": 0.2, "bf16": 0.2}  # an average that stands still is 1 apart
LOSSES = 5  # steps that are compared


def arguments() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("--size", choices=SIZES, default="tiny")
    p.add_argument("--data", type=int, choices=(64, 512), default=512, help="64x64x3, or latents 64x64x4 of 512")
    p.add_argument("--batch", type=integers, default=None, help="images a step: 32, or 64,128,256 to find the fastest")
    p.add_argument("--dtype", type=listed, default=None, help="fp32,fp16,bf16")
    p.add_argument("--compile", choices=("no", "yes", "both"), default="no")
    p.add_argument("--attention", default=None, help="training.attention of ours")
    p.add_argument("--activation_checkpointing", action="store_true")
    p.add_argument("--steps", type=int, default=None, help="steps of a timed turn")
    p.add_argument("--workers", type=int, default=None, help="of the data loader")
    p.add_argument("--no_baseline", action="store_true", help="where it does not fit, or was measured before")
    args = p.parse_args()
    cuda = torch.device(args.device).type == "cuda"
    args.batch = args.batch or [64 if cuda else 32]
    args.dtype = args.dtype or (["fp16"] if cuda else ["fp32"])
    args.steps = args.steps or (8 if cuda else 4)
    args.workers = args.workers if args.workers is not None else 8 if cuda else 0
    return args


def settings(args: argparse.Namespace, batch: int, dtype: str, compiled: bool) -> TrainConfig:
    """The configuration that is timed: the size's own, with what the options change."""
    known = {field.name for field in fields(TrainingConfig)}
    changes: dict[str, Any] = {"precision": dtype, "activation_checkpointing": args.activation_checkpointing}
    changes |= {"compile": True} if compiled else {}
    changes |= {"attention": args.attention} if args.attention else {}
    if missing := set(changes) - known:
        raise SystemExit(f"error: this version has no training.{', '.join(missing)}; leave the option out")
    training = training_config(args.size, args.data, batch, **changes)
    network = replace(config(args.size, args.data).network, dropout=0.0)
    trainer = TrainerConfig(accelerator="gpu" if torch.device(args.device).type == "cuda" else "cpu", lock=False)
    data = DataConfig(name="synthetic", num_workers=args.workers)
    return TrainConfig(training=training, network=network, trainer=trainer, data=data)


class Case:
    """One batch size and dtype: the same weights and images for all variants."""

    def __init__(self, args: argparse.Namespace, report: Report, batch: int, dtype: str):
        self.args, self.report, self.batch, self.dtype = args, report, batch, dtype
        self.device = report.device
        self.dataset = synthetic(shape(args.size, args.data), 4 * batch)
        self.flops = 3.0 * forward_flops(args.size, args.data)
        self.losses: torch.Tensor | None = None
        self.moved: torch.Tensor | None = None
        self.baseline: Spread | None = None
        self.turn: Callable[[], None] | None = (
            None  # of the baseline, beside ours; on CUDA both would need too much memory
        )

    def net(self) -> Any:
        return make(self.args.size, self.args.data, self.device, compute_dtype(self.dtype))

    def run_baseline(self) -> None:
        """Losses of the first steps, memory, time a step."""
        cfg = settings(self.args, self.batch, self.dtype, False).training
        training = PlainTraining(baseline(self.net()), cfg)
        data = batches(self.dataset, cfg, LOSSES, self.device)
        before = sample_averages(training.averages)
        self.losses = torch.stack([training.step(batch) for batch in data]).float().cpu()
        self.moved = sample_averages(training.averages) - before
        what, peak = memory_of(lambda: training.step(data[0]), self.device)

        source = endless(self.dataset, cfg, self.args.workers, self.device)

        def turn() -> None:
            for _ in range(self.args.steps):
                training.step(next(source))

        spent = in_turns({"baseline": turn}, self.device, self.args.repeats)["baseline"]
        self.baseline = per_step(spent, self.args.steps)
        self.turn = turn if self.device.type == "cpu" else None
        self._add("baseline", self.baseline, None, {what: peak}, None)

    def run_ours(self, compiled: bool) -> None:
        """The real path and the bare step, beside turns of the baseline if there is memory for both."""
        cfg = settings(self.args, self.batch, self.dtype, compiled)
        with tempfile.TemporaryDirectory() as folder:
            cfg, steps = replace(cfg, run_dir=folder), self.args.steps
            timed = real_path(self.net(), cfg, self.dataset, steps, self.args.repeats, LOSSES, self.turn)
        by_loss = by_average = None
        if self.losses is not None and self.moved is not None:
            by_loss = Parity(relative_error(timed.losses, self.losses), TOLERANCES[self.dtype])
            by_average = Parity(relative_error(timed.moved, self.moved), MOVED[self.dtype])
        label, trainer = "compiled" if compiled else "eager", per_step(timed.trainer, steps)
        plain, beside = (
            self.baseline if spent is None else per_step(spent, steps) for spent in (timed.other, timed.beside_bare)
        )
        first = {"first step, s": timed.first}
        self._add(f"trainer, {label}", trainer, plain, first | {timed.memory[0]: timed.memory[1]}, by_loss)
        self._add(f"bare, {label}", per_step(timed.bare, steps), beside, {}, by_average)

    def _add(
        self, what: str, spent: Spread, plain: Spread | None, extra: dict[str, Any], parity: Parity | None
    ) -> None:
        columns = {
            "batch": self.batch,
            "dtype": self.dtype,
            **self.report.speed(spent, self.batch, self.flops, self.dtype),
        }
        columns["times the baseline"] = None if plain is None else ratio(spent, plain)
        if parity is None and what != "baseline":
            columns["note"] = "compared with nothing: the baseline was not measured"
        self.report.add(what, columns | extra, parity)


def per_step(spent: Spread, steps: int) -> Spread:
    return Spread(tuple(value / steps for value in spent.values))


def main() -> int:
    args = arguments()
    report = Report(f"train_step-{args.size}-{args.data}", args)
    for dtype in args.dtype:
        best: dict[str, tuple[float, int]] = {}
        for batch in args.batch:
            case = Case(args, report, batch, dtype)
            runs = [] if args.no_baseline else [("baseline", case.run_baseline)]
            for compiled in {"no": (False,), "yes": (True,), "both": (False, True)}[args.compile]:
                runs.append(("compiled" if compiled else "eager", partial(case.run_ours, compiled)))
            for name, run in runs:
                report.attempt(f"{name}, {dtype}, batch {batch}", run)
        for kind in ("baseline", "trainer"):
            rows = [r for r in report.rows if r.get("dtype") == dtype and r["what"].startswith(kind)]
            if rows:
                row = max(rows, key=lambda r: r["images/s"])
                best[kind] = (row["images/s"], row["batch"])
        if len(best) == 2 and len(args.batch) > 1:
            (plain, at), (ours, our) = best["baseline"], best["trainer"]
            report.note(f"{dtype}, each at its fastest batch ({our} and {at}): {ours / plain:.2f} times the baseline.")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
