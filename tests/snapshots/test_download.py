"""Downloads: once, whole, with their hash, by one of several processes; every failure is one line and leaves nothing."""

import hashlib
import json
import subprocess
import sys
from datetime import datetime

import pytest

from edm2lite.errors import UserError
from edm2lite.snapshots import download as room
from edm2lite.snapshots.download import AbsentError, download, file_hash
from tests.conftest import ROOT
from tests.snapshots.server import serve

CONTENT = b"weights" * 300_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EDM2LITE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def site():
    with serve() as site:
        site.files["/a/model.pkl"] = CONTENT
        yield site


def left(cache):
    """Files in the cache besides locks."""
    return [path for path in cache.rglob("*") if path.is_file() and path.name != ".lock"]


def test_a_file_is_downloaded_once_and_noted(site, cache):
    url = f"{site.url}/a/model.pkl?download=true"
    path = download(url)
    assert path.read_bytes() == CONTENT and path.name == "model.pkl"
    noted = json.loads((path.parent / "model.pkl.json").read_text())
    assert datetime.fromisoformat(noted.pop("date"))
    assert noted == {"url": f"{site.url}/a/model.pkl", "sha256": SHA256, "size": len(CONTENT)}
    assert download(url, SHA256) == path and len(site.asked) == 1
    assert len(left(cache)) == 2


def test_secrets_in_a_url_are_not_written_down():
    assert room._without_secrets("https://me:word@host:81/a/b%20c.pkl?token=1#x") == "https://host:81/a/b%20c.pkl"


def test_two_urls_are_two_files(site):
    site.files["/b/model.pkl"] = b"other"
    a, b = download(f"{site.url}/a/model.pkl"), download(f"{site.url}/b/model.pkl")
    assert a.name == b.name and (a.read_bytes(), b.read_bytes()) == (CONTENT, b"other")


@pytest.mark.parametrize("harm", ["cut short", "without its note"])
def test_what_is_not_whole_is_downloaded_again(harm, site):
    path = download(f"{site.url}/a/model.pkl")
    if harm == "cut short":
        path.write_bytes(CONTENT[:-1])
    else:
        (path.parent / "model.pkl.json").unlink()
    assert download(f"{site.url}/a/model.pkl").read_bytes() == CONTENT and len(site.asked) == 2


def test_what_a_killed_process_left_is_removed(site, left_by_the_dead):
    path = download(f"{site.url}/a/model.pkl")
    left = path.with_name(left_by_the_dead(path.name))
    left.touch()
    path.unlink()
    assert download(f"{site.url}/a/model.pkl") == path and not left.exists()


def test_a_file_url_needs_no_server(tmp_path):
    (tmp_path / "my model.safetensors").write_bytes(CONTENT)
    path = download((tmp_path / "my model.safetensors").as_uri())
    assert path.name == "my model.safetensors" and path.read_bytes() == CONTENT


def test_several_processes_download_once(site, cache):
    site.delay = 1.0  # longer than they take to start
    code = f"from edm2lite.snapshots.download import download; print(download('{site.url}/a/model.pkl'))"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    outputs, errors = zip(*(process.communicate(timeout=60) for process in started), strict=True)
    assert len(set(outputs)) == 1 and outputs[0].strip().endswith("model.pkl")
    assert len(site.asked) == 1
    assert sum("waiting for another process: it downloads" in text for text in errors) == 2


def test_it_needs_no_torch(tmp_path):
    (tmp_path / "torch.py").write_text("raise ImportError('a download must not need torch')")
    code = "import edm2lite.snapshots.fetch, edm2lite.snapshots.index, edm2lite.snapshots.importing"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": str(tmp_path)}, check=True)


def fail_with(error):
    def fail(*_):
        raise error

    return fail


def test_failures_are_one_line_and_leave_nothing(site, cache, tmp_path, monkeypatch):
    def fails(url, message, kind=UserError, expected=None):
        with pytest.raises(UserError, match=message) as e:
            download(url, expected)
        assert type(e.value) is kind and "\n" not in str(e.value) and left(cache) == []

    url = f"{site.url}/a/model.pkl"
    fails(url, f"has sha256 {SHA256}, not 0000", expected="0" * 64)
    fails(f"{site.url}/absent.pkl", "HTTP 404", AbsentError)
    fails((tmp_path / "absent.pkl").as_uri(), "no such file", AbsentError)
    fails("http://[host/model.pkl", "is no URL")
    fails(f"{site.url}/a/model.tar", "must end in .pkl or .safetensors")
    fails("http://127.0.0.1:1/model.pkl", "Connection refused.; check the network")
    fails("http://host.invalid/model.pkl", "check the network and try again, or download it on another machine")
    site.cut = True
    fails(url, f"the connection ended after {len(CONTENT)} of {len(CONTENT) + 1} bytes")
    site.cut, site.content_type = False, "text/html; charset=utf-8"
    fails(url, "it is a web page")
    site.content_type = "application/octet-stream"
    monkeypatch.setattr(room, "_copy", fail_with(OSError(28, "No space left on device")))
    fails(url, "does not fit on the disk of .*EDM2LITE_CACHE")


def test_the_hash_of_a_download_is_not_computed_again_and_that_of_a_changed_file_is(site, tmp_path, monkeypatch):
    path = download(f"{site.url}/a/model.pkl")
    with monkeypatch.context() as patch:
        patch.setattr(room, "sha256", fail_with(AssertionError))
        assert file_hash(path) == SHA256
    mine = tmp_path / "mine.pkl"
    for content in (b"one", b"three"):
        mine.write_bytes(content)
        assert file_hash(mine) == hashlib.sha256(content).hexdigest()
