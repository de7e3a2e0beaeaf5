"""What the submit scripts hand to sbatch, without a cluster."""

import shlex
import shutil

import pytest

from edm2lite import cli
from edm2lite.config.cells import cells
from edm2lite.snapshots.published import file_name
from tests.conftest import GOLDEN, ROOT
from tests.slurm.cluster import submit


def dry_run(script, *arguments, cwd, **env):
    """The sbatch commands, as {job name: (options, script, arguments of the script)}."""
    done = submit(script, "--dry-run", *arguments, cwd=cwd, **env)
    assert done.returncode == 0, done.stderr
    jobs = {}
    for line in done.stdout.splitlines():
        command = shlex.split(line)
        at = next(i for i, part in enumerate(command) if part.endswith(".sbatch"))
        options = dict(part.removeprefix("--").split("=", 1) for part in command[1:at] if "=" in part)
        jobs[options["job-name"]] = (options, command[at].split("/")[-1], command[at + 1 :])
    return jobs


def test_a_table_needs_its_trainings_reference_rows(project):
    jobs = dry_run(
        "submit_table.sh",
        "table.yaml",
        "--blocks=3",
        cwd=project,
        EDM2LITE_SBATCH="--partition='a b'",
        EDM2LITE_AT_ONCE="2",
    )
    assert list(jobs) == [
        "train:runs/main",
        "train:runs/small",
        "ref:runs/ref.npz",
        "rows:runs/table",
        "table:runs/table",
    ]
    options, script, arguments = jobs["train:runs/small"]
    assert (script, arguments) == ("train.sbatch", ["configs/small.yaml"])
    assert (options["nodes"], options["ntasks-per-node"], options["gres"]) == ("2", "2", "gpu:2")
    assert options["signal"] == "USR1@180" and options["partition"] == "a b" and options["time"] == "24:00:00"
    assert jobs["train:runs/main"][0]["gres"] == "none"
    assert jobs["ref:runs/ref.npz"][2] == ["ref", "--data.name=digits", "--out=runs/ref.npz"]
    options, script, arguments = jobs["rows:runs/table"]
    assert arguments == ["table", "-c", "table.yaml", "--blocks=3", "--only_row={task}"] and options["array"] == "0-2%2"
    assert options["dependency"] == "afterok:<train:runs/main>:<train:runs/small>:<ref:runs/ref.npz>"
    assert options["signal"] == "B:USR1@180"
    options, script, arguments = jobs["table:runs/table"]
    assert arguments == ["table", "-c", "table.yaml", "--blocks=3"]
    assert options["dependency"] == "afterok:<rows:runs/table>"


def test_the_reference_of_any_dataset_is_made_first(project):
    (project / "data.zip").touch()
    options = ["--ref_data.path=data.zip", "--metrics=[fid, prdc_dinov2]", "--detector_files={inception: net.pth}"]
    jobs = dry_run("submit_table.sh", "table.yaml", *options, cwd=project)
    _, script, arguments = jobs["ref:runs/ref.npz"]
    assert (script, arguments) == (
        "evaluate.sbatch",
        [
            "ref", "--data.path=data.zip", '--detectors=["inception", "dinov2"]', '--detector_files={"inception": "net.pth"}',
            "--out=runs/ref.npz",
        ],
    )  # fmt: skip
    parsed = cli.parse("evaluate.py ref", cli.EVALUATE["ref"], arguments[1:])
    assert (parsed.data.path, parsed.detectors, parsed.out) == ("data.zip", ("inception", "dinov2"), "runs/ref.npz")
    assert parsed.detector_files == {"inception": "net.pth"}
    assert "<ref:runs/ref.npz>" in jobs["rows:runs/table"][0]["dependency"]


def test_processes_of_a_table_get_a_gpu_each(project):
    jobs = dry_run("submit_table.sh", "table.yaml", "--device=cuda", "--devices=2", cwd=project)
    asked = {
        name.split(":")[0]: options["gres"] for name, (options, *_) in jobs.items() if not name.startswith("train")
    }
    assert asked == {"ref": "gpu:1", "rows": "gpu:2", "table": "gpu:2"}


def test_a_papers_table_is_submitted_from_published_files(project):
    table = ROOT / "configs/tables/autoguidance-img64-s.yaml"
    cfg = cli.parse("evaluate.py table", cli.EVALUATE["table"], ["-c", str(table)])
    models = project / "models"
    models.mkdir()
    for cell in cells(cfg):
        for _, ref in cell.parts:
            name = file_name(ref.path.removeprefix("nvidia:"), ref.nimg, ref.ema)
            shutil.copy(GOLDEN / "snapshot-cond.pkl", models / name)
    (project / "data").mkdir()
    jobs = dry_run("submit_table.sh", table, "--models=models", "--ref_data.path=data", cwd=project)
    assert list(jobs) == [f"{kind}:{cfg.ref if kind == 'ref' else cfg.outdir}" for kind in ("ref", "rows", "table")]
    assert jobs[f"rows:{cfg.outdir}"][0]["array"] == "0-5" and "--models=models" in jobs[f"rows:{cfg.outdir}"][2]


def test_a_training_gets_the_nodes_and_devices_of_its_configuration(project):
    jobs = dry_run("submit_train.sh", "configs/small.yaml", "--trainer.num_nodes=4", cwd=project)
    options, script, arguments = jobs["train:runs/small"]
    assert (script, arguments) == ("train.sbatch", ["configs/small.yaml", "--trainer.num_nodes=4"])
    assert (options["nodes"], options["ntasks-per-node"], options["gres"]) == ("4", "2", "gpu:2")


def test_what_is_there_is_not_made_again(project, tiny_run):
    (project / "runs").mkdir()
    (project / "runs" / "ref.npz").touch()
    (project / "runs" / "small").symlink_to(tiny_run)
    (project / "configs" / "small.yaml").unlink()
    assert list(dry_run("submit_table.sh", "table.yaml", cwd=project)) == [
        "train:runs/main",
        "rows:runs/table",
        "table:runs/table",
    ]
    (project / "runs" / "main" / "snapshots").mkdir(parents=True)
    for nimg in (32, 64):
        assert len(dry_run("submit_table.sh", "table.yaml", cwd=project)) == 3
        (project / "runs" / "main" / "snapshots" / f"{nimg}-ema0.05.safetensors").touch()
    assert list(dry_run("submit_table.sh", "table.yaml", cwd=project)) == ["rows:runs/table", "table:runs/table"]


def test_images_are_sampled_in_shards_then_scored(project, tiny_run):
    (project / "ref.npz").touch()
    sampling = ["--", "--main.path", tiny_run, "--outdir=out"]
    jobs = dry_run("submit.sh", "--shards=4", "--ref=ref.npz", *sampling, cwd=project)
    options, script, arguments = jobs["sample:out"]
    assert (script, arguments) == ("sample.sbatch", ["--main.path", str(tiny_run), "--outdir=out"])
    assert options["array"] == "0-3" and options["gres"] == "gpu:1"
    score = ["metrics", "--ref=ref.npz", "--images=out", "--out=out/metrics.json"]
    assert jobs["metrics:out"][0]["dependency"] == "afterok:<sample:out>" and jobs["metrics:out"][2] == score
    assert list(dry_run("submit.sh", "--train", "--", "--main.path=runs/main", cwd=project)) == [
        "train:runs/main",
        "sample:out",
    ]


BAD = {
    "no table": (["submit_table.sh"], "TABLE.yaml"),
    "option of a training": (["submit_train.sh", "configs/main.yaml", "--trainer.nodes=3"], "did you mean"),
    "table that is not there": (["submit_table.sh", "none.yaml"], "none.yaml"),
    "table without rows": (["submit_table.sh", "table.yaml", "--rows=[]"], "must have rows"),
    "option of a table": (["submit_table.sh", "table.yaml", "--bloks=3"], "did you mean blocks?"),
    "model that nothing trains": (["submit_table.sh", "table.yaml", "--main.path=runs/nix"], "the run_dir runs/nix"),
    "snapshot that will not be": (["submit_table.sh", "table.yaml", "--main.nimg=33"], "choose a multiple"),
    "reference of nothing known": (
        ["submit_table.sh", "table.yaml", "--main.path={run}", "--ref=none.npz"],
        "evaluate.py ref --out none.npz --data.path DATASET, or add to table.yaml: ref_data: {path: DATASET}",
    ),
    "reference of data that are missing": (
        ["submit_table.sh", "table.yaml", "--ref_data.path=none.zip"],
        "nor does their dataset none.zip (ref_data.path)",
    ),
    "shards of a table": (["submit_table.sh", "table.yaml", "--shard=0/2"], "no shard"),
    "published value of no metric": (
        ["submit_table.sh", "table.yaml", '--rows=[{{"name": "a", "published": {{"fidd": 1}}}}]'],
        "published of row 'a': unknown metric 'fidd'",
    ),
    "unknown option": (["submit.sh", "--shard=3"], "unrecognized arguments: --shard=3"),
    "no shards": (["submit.sh", "--shards=0", "--", "--main.path={run}"], "--shards is 0"),
    "one shard": (["submit.sh", "--", "--main.path={run}", "--shard=0/2"], "shard 0/2"),
    "model that is missing": (["submit.sh", "--", "--main.path=runs/main"], "does not exist"),
    "guide without weight": (
        ["submit.sh", "--train", "--", "--main.path=runs/main", "--guide.path=runs/small"],
        "weight",
    ),
    "published model of no time": (
        ["submit.sh", "--train", "--", "--main.path=nvidia:edm2-img512-s"],
        "set nimg and ema, too",
    ),
    "no model": (["submit.sh", "--train", "--", "--seeds=0-3"], "no main model was named"),
    "no seeds": (["submit.sh", "--train", "--", "--main.path=runs/main", "--seeds="], "name no seed"),
    "table of no model": (["submit_table.sh", "table.yaml", "--main=null"], "main"),
    "missing reference": (["submit.sh", "--ref=none.npz", "--", "--main.path={run}"], "none.npz do not exist"),
}


@pytest.mark.parametrize("name", BAD)
def test_mistakes_are_one_line_and_nothing_is_submitted(name, project, tiny_run):
    (script, *arguments), message = BAD[name]
    done = submit(script, *(a.format(run=tiny_run) for a in arguments), cwd=project)
    assert done.returncode == 2 and not done.stdout
    assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ") and message in done.stderr


def test_two_configurations_of_one_run_are_named(project):
    (project / "configs" / "again.yaml").write_text("run_dir: ./runs/main\n")
    done = submit("submit_table.sh", "table.yaml", cwd=project)
    assert done.returncode == 2 and "configs/again.yaml and configs/main.yaml" in done.stderr
