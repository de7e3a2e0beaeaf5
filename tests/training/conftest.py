"""The run that the tests of killed, stopped and moved runs compare with."""

from pathlib import Path

import pytest

from tests.conftest import run_script
from tests.training.runs import OPTIONS


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("whole") / "run"
    done = run_script(*OPTIONS, f"--run_dir={run_dir}")
    assert done.returncode == 0, done.stderr
    return run_dir
