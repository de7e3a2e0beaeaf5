"""Upload: which files, in one commit, with a card; nothing here reaches the hub."""

import sys

import huggingface_hub
import pytest
from huggingface_hub.utils import HfHubHTTPError

from edm2lite.cli import SNAPSHOT, main
from edm2lite.config import PushConfig
from edm2lite.errors import UserError
from edm2lite.interop.push import push
from tests.conftest import GOLDEN
from tests.interop.conftest import write_snapshot


class Hub:
    """Stands for `huggingface_hub.HfApi` and remembers."""

    def __init__(self):
        self.repos, self.commits, self.remote, self.error = [], [], set(), None

    def __call__(self):
        return self

    def create_repo(self, repo, **kwargs):
        self.repos.append((repo, kwargs))
        return f"https://huggingface.co/{repo}"

    def file_exists(self, repo, name):
        return name in self.remote

    def create_commit(self, repo, operations, commit_message):
        if self.error:
            raise self.error
        files = {operation.path_in_repo: operation.path_or_fileobj for operation in operations}
        self.commits.append((repo, files, commit_message))


@pytest.fixture
def hub(monkeypatch):
    fake = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", fake)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_token")
    return fake


@pytest.fixture
def run_dir(tmp_path):
    for nimg, ema in ((512, 0.05), (1024, 0.05), (1024, 0.1)):
        name = f"{'512' if nimg == 512 else '1Ki'}-ema{ema}.safetensors"
        write_snapshot(tmp_path / "run" / "snapshots" / name, 1, nimg=nimg, sigma_rel=ema)
    for name in ("metrics.csv", "config.yaml", "checkpoints/1Ki.safetensors", "snapshots/.x.tmp"):
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text("x")
    return tmp_path / "run"


def test_a_pipeline_with_its_card(folder, hub, capsys):
    argv = ["push", f"--path={folder}", "--repo=jane/digits", "--private=true", "--message=first"]
    assert main(SNAPSHOT, "edm2lite snapshot", argv) == 0
    assert hub.repos == [("jane/digits", {"private": True, "exist_ok": True})]
    ((repo, files, message),) = hub.commits
    assert (repo, message) == ("jane/digits", "first")
    assert files == {str(p.relative_to(folder)): str(p) for p in folder.rglob("*") if p.is_file()}
    assert "8 files" in capsys.readouterr().out


def test_snapshots_of_a_run_with_a_new_card(run_dir, hub):
    push(PushConfig(path=str(run_dir), repo="jane/digits"))
    ((_, files, _),) = hub.commits
    names = {f"snapshots/{name}.safetensors" for name in ("512-ema0.05", "1Ki-ema0.05", "1Ki-ema0.1")}
    assert files.keys() == names | {"config.yaml", "README.md"}
    card = files["README.md"].decode()
    assert "library_name: edm2lite" in card and "Snapshots of 2 times: 512, 1Ki." in card
    assert "| 1Ki-ema0.05.safetensors |" in card and "| 1Ki-ema0.1.safetensors |" in card
    assert "edm2lite sample --main.path digits --seeds" in card
    assert not (run_dir / "README.md").exists()


def test_a_card_that_is_there_stays(run_dir, hub):
    hub.remote.add("README.md")
    push(PushConfig(path=str(run_dir), repo="jane/digits"))
    assert "README.md" not in hub.commits[0][1]
    (run_dir / "README.md").write_text("mine")
    push(PushConfig(path=str(run_dir), repo="jane/digits"))
    assert hub.commits[1][1]["README.md"] == str(run_dir / "README.md")


def test_one_snapshot(run_dir, hub):
    path = run_dir / "snapshots" / "512-ema0.05.safetensors"
    push(PushConfig(path=str(path), repo="jane/digits"))
    files = hub.commits[0][1]
    assert files.keys() == {path.name, "README.md"}
    assert f"--main.path digits/{path.name}" in files["README.md"].decode()


def test_what_is_not_uploaded(tmp_path, hub):
    (tmp_path / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    (tmp_path / "unet").mkdir()
    (tmp_path / "unet" / "x.safetensors").write_text("x")
    for path, message in (
        (tmp_path, "holds neither snapshots nor a pipeline"),
        (tmp_path / "nowhere", "holds neither snapshots nor a pipeline"),
        (GOLDEN / "snapshot-cond.pkl", r"is no snapshot \(\.safetensors\)"),
        (GOLDEN / "encoders.safetensors", "no snapshot of edm2lite"),
    ):
        with pytest.raises(UserError, match=message):
            push(PushConfig(path=str(path), repo="jane/digits"))
    (tmp_path / "model_index.json").write_text("{")
    with pytest.raises(UserError, match=r"model_index\.json is damaged"):
        push(PushConfig(path=str(tmp_path), repo="jane/digits"))
    assert hub.repos == hub.commits == []


def test_no_token_no_library_no_network(folder, hub, monkeypatch):
    config = PushConfig(path=str(folder), repo="jane/digits")
    hub.error = HfHubHTTPError.__bases__[0]("no route to host")
    with pytest.raises(UserError, match="upload to jane/digits failed: no route to host"):
        push(config)
    hub.error = OSError("file vanished")
    with pytest.raises(UserError, match="file vanished"):
        push(config)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(UserError, match=r"no token .* hf auth login"):
        push(config)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(UserError, match=r"pip install 'edm2lite\[hub\]'"):
        push(config)
    for repo in ("digits", "a/b/c", ""):
        with pytest.raises(UserError, match="USER/NAME"):
            PushConfig(path="x", repo=repo)
