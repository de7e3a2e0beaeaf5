"""Quality over the number of network evaluations (NFE): every solver's error and distance to the data.

python benchmarks/solvers.py              # about 15 CPU minutes; interrupted, the same command goes on
python benchmarks/solvers.py --quick      # a minute: two models, few images, a reference of 250 steps; prints, writes nothing

Needs the models of `make demo` and `make toy`. Error: rms over the elements of final images of the first seeds against Heun's
solution with 4000 steps, the solver's state in float64, so that what is compared is the discretisation. Distances: of
blocks of samples from common seeds, so that differences from Heun with 63 evaluations are paired. Writes
benchmarks/results/solvers_cpu_DATE.{json,md} and a figure for each model.
"""

import argparse
import datetime
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from solver_candidates import CANDIDATES
from solver_models import MODELS, Digits, Points
from solver_report import BASELINE, write_figures, write_table
from torch import Tensor

from edm2lite.config import SamplerConfig
from edm2lite.config.sampling import SOLVERS
from edm2lite.files import atomic_path, digest, write_json, write_text
from edm2lite.sampling.noise_levels import noise_levels
from edm2lite.sampling.seeded import SeededStreams
from edm2lite.sampling.solve import solve

Model = Digits | Points
DEFAULT = ["digits-guided", "digits", "2d-exact", "2d-autoguidance"]
NFES = (8, 12, 16, 24, 32, 48, 63, 96)
DISTANCES_AT = (8, 16, 24, 32)
RHOS, RHO_NFES, RHO_SOLVERS = (5.0, 9.0), (16, 24, 32), ("heun", "dpmpp_2m", "deis", "unipc")
CONVERGED = ("deis", 96)  # its distances stand for those of the exact solution
REFERENCE_STEPS, VERSION = 4000, 1


class Counted:
    """A denoiser that counts."""

    def __init__(self, denoise: Callable[..., Tensor]):
        self.denoise, self.count = denoise, 0

    def __call__(self, *args: Any) -> Tensor:
        self.count += 1
        return self.denoise(*args)


def sampler(solver: str, nfe: int, model: Model, rho: float = 7.0) -> SamplerConfig:
    """With as many evaluations, or one fewer where a solver makes two a step; a candidate's has the name heun."""
    steps = (nfe + 1) // 2 if solver in ("heun", "dpmpp_2s") else nfe
    name = solver if solver in SOLVERS else "euler"
    return SamplerConfig(solver=name, num_steps=steps, sigma_max=model.sigma_max, rho=rho)


def samples(model: Model, solver: str, cfg: SamplerConfig, seeds: range) -> tuple[Tensor, int]:
    """Images of the seeds, float64, and the evaluations of an image."""
    found = []
    for start in range(seeds.start, seeds.stop, model.batch):
        some = range(start, min(start + model.batch, seeds.stop))
        streams = SeededStreams(some)
        noise, denoise = streams.randn(model.shape).double(), Counted(model.denoiser(some, cfg))
        if solver in CANDIDATES:
            found.append(CANDIDATES[solver](denoise, noise, noise_levels(cfg)[:-1].tolist()))
        else:
            found.append(solve(cfg, denoise, noise, randn_like=streams.randn_like, dtype=torch.float64))
    return torch.cat(found), denoise.count


def reference(model: Model, steps: int, cache: Path) -> Tensor:
    """The solution that errors are against, of the first seeds."""
    cfg = sampler("heun", 2 * steps - 1, model)
    file = cache / f"{digest([VERSION, model.identity(), asdict(cfg), model.error_seeds])}.pt"
    if not file.exists():
        images, _ = samples(model, "heun", cfg, range(model.error_seeds))
        with atomic_path(file) as temporary:
            torch.save(images, temporary)
    return torch.load(file)


def kept(cache: Path, key: dict[str, Any], compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was computed before under a key, or now."""
    file = cache / f"{digest(key)}.json"
    if not file.exists():
        start = time.perf_counter()
        write_json(file, compute())
        print(f"{key['model']} {key['what']} {key['solver']} {time.perf_counter() - start:.1f} s", flush=True)
    return json.loads(file.read_text())


def errors(model: Model, solver: str, truth: Tensor, runs: list[tuple[int, float]]) -> list[dict[str, Any]]:
    """Error of a solver for each (NFE, rho)."""
    found = []
    for nfe, rho in runs:
        cfg = sampler(solver, nfe, model, rho)
        images, count = samples(model, solver, cfg, range(model.error_seeds))
        found.append({"nfe": count, "rho": rho, "error": float((images - truth).square().mean().sqrt())})
    return found


def distances(model: Model, solver: str, nfe: int, first_seed: int) -> dict[str, Any]:
    """Each metric of a block of seeds."""
    seeds = range(first_seed, first_seed + model.block)
    images, count = samples(model, solver, sampler(solver, nfe, model), seeds)
    return {"nfe": count, **model.measure(images)}


def measure(name: str, model: Model, steps: int, nfes: tuple[int, ...], blocks: int, cache: Path) -> dict[str, Any]:
    """Everything about a model."""
    about = {"version": VERSION, "model": name, "identity": model.identity(), "seeds": [model.error_seeds, model.block]}
    start = time.perf_counter()
    truth = reference(model, steps, cache)
    print(f"{name}: reference {time.perf_counter() - start:.1f} s", flush=True)

    def error(solver: str) -> list[dict[str, Any]]:
        runs = [(nfe, 7.0) for nfe in NFES]
        runs += [(nfe, rho) for rho in RHOS for nfe in RHO_NFES] if solver in RHO_SOLVERS else []
        key = {**about, "what": "errors", "solver": solver, "runs": runs, "steps": steps}
        return kept(cache, key, lambda: {"errors": errors(model, solver, truth, runs)})["errors"]

    def distance(solver: str, nfe: int) -> dict[str, Any]:
        values = []
        for first in range(0, blocks * model.block, model.block):
            key = {**about, "what": "distances", "solver": solver, "nfe": nfe, "first_seed": first}
            values.append(kept(cache, key, lambda first=first: distances(model, solver, nfe, first)))
        return {"nfe": values[0]["nfe"], **{metric: [v[metric] for v in values] for metric in model.metrics}}

    return {
        "title": model.title,
        "rms": float(truth.square().mean().sqrt()),
        "errors": {solver: error(solver) for solver in (*(s for s in SOLVERS if s != "ancestral"), *CANDIDATES)},
        "distances": {solver: [distance(solver, nfe) for nfe in nfes] for solver in SOLVERS},
        "baseline": distance(*BASELINE),
        "converged": distance(*CONVERGED),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=DEFAULT)
    parser.add_argument("--blocks", type=int, default=3, help="of seeds; more of them make the intervals narrower")
    parser.add_argument("--cache", type=Path, default=Path("runs/solvers"), help="finished parts")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--images", type=Path, default=Path("docs/images"), help="folder of the figures")
    args = parser.parse_args()
    models, steps, nfes = {name: MODELS[name] for name in args.models}, REFERENCE_STEPS, DISTANCES_AT
    if args.quick:
        models = {
            n: replace(m, block=100, error_seeds=16) for n, m in models.items() if n in ("digits", "2d-autoguidance")
        }
        steps, nfes = 250, (16, 32)
    torch.set_num_threads(1)
    results = {name: measure(name, model, steps, nfes, args.blocks, args.cache) for name, model in models.items()}
    setting = {"torch": torch.__version__, "reference_steps": steps, "blocks": args.blocks}
    sizes = {name: {"error_seeds": m.error_seeds, "block": m.block} for name, m in models.items()}
    everything = {"setting": setting, "sizes": sizes, "results": results}
    table = write_table(everything)
    print(f"\n{table}")
    if args.quick:
        return
    stem = args.out / f"solvers_cpu_{datetime.date.today()}"
    write_json(stem.with_suffix(".json"), everything)
    write_text(stem.with_suffix(".md"), table)
    write_figures(everything, args.images)


if __name__ == "__main__":
    main()
