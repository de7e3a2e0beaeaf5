"""The dependency direction of the house, read off the imports."""

import ast
import tomllib
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "edm2lite"
BASE = {
    "background",
    "config",
    "errors",
    "files",
    "interrupt",
    "plugins",
    "pool",
    "lazy",
    "memory",
    "progress",
    "ranks",
    "__init__",
}
ALLOWED = {  # room -> rooms it may import, besides the base and itself
    "network": set(),
    "data": set(),
    "guidance": set(),
    "snapshots": {"network", "data"},
    "training": {"network", "data", "snapshots"},
    "sampling": {"network", "snapshots", "guidance", "data"},
    "evaluation": {"network", "sampling", "snapshots", "data"},
    "interop": {"network", "snapshots", "guidance", "sampling", "data"},
    "toy2d": {"network", "snapshots", "training", "guidance", "sampling", "evaluation"},
    "launch": {"cli", "sampling", "snapshots"},
}
SOLVERS = [
    f"{name}.py"
    for name in (
        "noise_levels",
        "steps",
        "heun",
        "euler",
        "dpmpp",
        "ancestral",
        "multistep",
        "deis",
        "unipc",
        "solve",
        "seeded",
        "generate",
    )
]


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {
                f"{node.module}.{alias.name}" if node.module == "edm2lite" else str(node.module) for alias in node.names
            }
    return names


def rooms(path: Path) -> set[str]:
    parts = {name.split(".")[1] for name in imports(path) if name.startswith("edm2lite.")}
    return parts - BASE - {"__version__"}


def test_every_room_imports_only_what_lies_below():
    seen = {p.name for p in PACKAGE.iterdir() if p.is_dir() and (p / "__init__.py").exists()} - BASE
    assert seen == set(ALLOWED)
    for room, allowed in ALLOWED.items():
        for path in (PACKAGE / room).rglob("*.py"):
            assert rooms(path) <= allowed | {room}, path


def test_the_base_imports_no_room_and_no_torch():
    for path in (
        *(PACKAGE / f"{name}.py" for name in ("background", "errors", "files", "lazy", "plugins", "pool", "progress")),
        *(PACKAGE / "config").glob("*.py"),
    ):
        assert not rooms(path) and not any(i.split(".")[0] in ("torch", "lightning") for i in imports(path)), path


def test_lightning_is_imported_in_training_alone():
    for path in PACKAGE.rglob("*.py"):
        if "training" not in path.parts:
            assert not any(name.split(".")[0] == "lightning" for name in imports(path)), path


def test_guidance_and_solvers_know_only_the_denoiser_contract():
    files = [*(PACKAGE / "guidance").glob("*.py"), *(PACKAGE / "sampling" / name for name in SOLVERS)]
    for path in files:
        assert not rooms(path) & {"network", "snapshots", "data"}, path


def test_a_wheel_carries_every_room_the_presets_and_the_batch_scripts():
    setuptools = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["setuptools"]
    rooms = {".".join(p.parent.relative_to(PACKAGE.parent).parts) for p in PACKAGE.rglob("*/__init__.py")}
    assert set(setuptools["packages"]) == {"edm2lite", "edm2lite.configs", "edm2lite.slurm", *rooms}
    assert setuptools["package-dir"] == {"edm2lite.configs": "configs", "edm2lite.slurm": "slurm"}
