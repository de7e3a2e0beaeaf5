"""Work that several processes want done."""

import subprocess
import sys

from edm2lite.snapshots.once import unless_another
from tests.conftest import ROOT

CODE = "import sys; from edm2lite.snapshots.once import unless_another\n"
CODE += "with unless_another(sys.argv[1]) as mine: print(mine, flush=True); sys.stdin.read()"


def test_work_is_left_to_the_process_that_does_it(tmp_path):
    run = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    with subprocess.Popen([sys.executable, "-c", CODE, str(tmp_path / "lock")], **run) as other:
        assert other.stdout.readline() == "True\n"
        with unless_another(tmp_path / "lock") as mine:
            assert not mine
        assert (tmp_path / "lock").exists(), "it is the other one's"
        other.kill()
        other.wait()
    with unless_another(tmp_path / "lock") as mine:
        assert mine, "who was killed keeps nobody out"
    assert not list(tmp_path.iterdir())
    with unless_another(tmp_path / "gone" / "lock") as mine:
        assert mine
