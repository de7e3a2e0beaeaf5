"""How the numbers were made: a readable list, the plain data behind it, and the commands that make it again."""

import json
import os
from dataclasses import asdict
from typing import Any

import yaml

from edm2lite.config import ModelRef, TableConfig, parse_metric, plain
from edm2lite.errors import UserError
from edm2lite.evaluation.report.markup import definitions, download, element, text
from edm2lite.evaluation.tables.results import Table
from edm2lite.snapshots.describe import describe

_LABELS = {"uniform": "drawn uniformly, from the seed", "balanced": "balanced, the seed modulo the number of classes"}


def protocol(table: Table, cfg: TableConfig) -> str:
    """Detectors, reference, images, sampler, models: what decides the numbers."""
    facts: dict[str, object] = {**_images(cfg, table), "sampler": _words(_changed(cfg)), **_reference(table)}
    parts = [definitions(facts)]
    parts += [element("h4", text(name)) + definitions(facts) for name, facts in _detectors(table).items()]
    parts.append(element("h4", "Models") + definitions(models(cfg)))
    return "".join(parts)


def size(table: Table) -> tuple[int, int]:
    """Blocks of a setting, and images of a block; the same for all, or they could not be compared."""
    scores = table.results[0].scores[table.first]
    return len(scores), scores[0].num_images


def _images(cfg: TableConfig, table: Table) -> dict[str, object]:
    blocks, each = size(table)
    first, count = table.results[0].first_seed, blocks * each
    fresh = {f"{r.first_seed} to {r.first_seed + count - 1}" for r in table.confirmed.values()}
    return {
        "images": f"N = {each:,} a block, {blocks} {'blocks of seeds of their own' if blocks > 1 else 'block'}",
        "seeds": f"{first} to {first + count - 1}, the same for every setting",
        "fresh seeds": ", ".join(fresh) or "none",
        "labels": _LABELS[cfg.labels],
        "batch size": cfg.batch_size,
        "precision": f"{cfg.precision} (networks); detectors float32, distances float64",
        "device": table.made_with.get("device", cfg.device),
        "versions": ", ".join(f"{name} {version}" for name, version in table.made_with.get("versions", {}).items()),
    }


def _changed(cfg: TableConfig) -> dict[str, Any]:
    """The sampler's settings that have a part in it: noise is added only with S_churn, noise levels may be given outright."""
    settings = plain(asdict(cfg.sampler))
    idle = {"S_churn", "S_min", "S_max", "S_noise"} if cfg.sampler.S_churn == 0 else set()
    idle |= {"sigmas"} if cfg.sampler.sigmas is None else {"num_steps", "sigma_min", "sigma_max", "rho"}
    idle |= set() if cfg.sampler.solver == "ancestral" else {"v"}
    return {name: value for name, value in settings.items() if name not in idle}


def _reference(table: Table) -> dict[str, object]:
    return {f"reference {name}".replace("reference file", "reference"): _word(v) for name, v in table.reference.items()}


def _detectors(table: Table) -> dict[str, dict[str, object]]:
    """What is known of each detector, and the constants of the metrics in its features, by the detector's name."""
    found: dict[str, dict[str, object]] = {}
    for metric in table.metrics:
        data = table.protocol[metric]
        identity = dict(data["detector"])
        known = {"weights, sha256" if k == "weights_sha256" else k: v for k, v in identity.items() if k != "detector"}
        facts = found.setdefault(
            f"Detector {identity['detector']}", {**known, "reference's fingerprint": data["reference"]}
        )
        own = {k.replace("_", " "): v for k, v in data.items() if k not in ("metric", "detector", "reference")}
        facts[parse_metric(metric).title] = _words(own)
    return found


def models(cfg: TableConfig) -> dict[str, object]:
    """What each model of a table is, with its licence, by its path and degradations; of a model that is gone just that."""
    refs = [ref for row in cfg.rows for ref in (cfg.main_of(row), *cfg.guides_of(row))]
    return {_model_name(ref): _model(ref) for ref in refs if ref.path}


def _model_name(ref: ModelRef) -> str:
    worse = "".join(f", {name} {value}" for name, value in ref.degradations.items())
    return str(ref.path) + (f" at {ref.nimg}" if ref.nimg is not None else "") + worse


def _model(ref: ModelRef) -> str:
    assert ref.path is not None
    if ":" in ref.path:
        return "named by its address, and not looked up for this report"  # that could be a download
    if not os.path.exists(ref.path):
        return "not on this machine, so nothing more can be said of it"
    try:
        about = describe(ref.path, ref.nimg)
    except (UserError, OSError) as e:
        return f"cannot be read: {e}"
    trained = "" if about["nimg"] is None else f", {about['nimg']:,} training images"
    data = about["dataset"] or "unknown data"
    return f"{about['parameters']:,} parameters, {data}{trained}; licence: {about['licence'] or 'not stated'}"


def raw(table: Table) -> str:
    """Everything as plain data, folded away, and to be saved."""
    data = json.dumps({"protocol": table.protocol, "reference": table.reference, "config": table.config}, indent=2)
    link = element("p", download("Save as manifest.json", data, "manifest.json", "application/json"))
    return element("details", element("summary", "The same as JSON") + link + element("pre", text(data)))


def again(config: dict[str, Any], outdir: str, command: str) -> str:
    """The commands that make a table or sweep and its report again, and the configuration they need."""
    written = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    link = download(f"{command}.yaml", written, f"{command}.yaml", "application/yaml")
    lines = [
        f"python evaluate.py {command} -c {command}.yaml",
        f"python evaluate.py report --tables '[{outdir}]' --out report.html",
    ]
    said = f"Save {link}; finished cells are found again in {text(config['outdir'])}, elsewhere they are computed anew."
    return element("p", said) + element("pre", text("\n".join(lines)))


def _words(data: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_word(value)}" for name, value in data.items())


def _word(value: Any) -> str:
    if isinstance(value, dict):
        return _words(value)
    if isinstance(value, list):
        return ", ".join(map(_word, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) and value >= 10_000 else str(value)
