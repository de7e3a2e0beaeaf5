"""Scores on disk: many writers, killed writers, damage."""

import json
import threading

import pytest

from edm2lite.errors import UserError
from edm2lite.evaluation.score import Score
from edm2lite.evaluation.tables.ledger import Ledger

SCORE = Score(value=1 / 3, num_images=7, se=0.1, extrapolated=0.2, details={"0": 1.5}, leave_one_out=(0.1, 0.2))
SETTINGS = {"pair": {"main": "x"}, "seeds": [0, 7]}


def test_a_score_is_found_under_its_settings_alone(tmp_path):
    ledger = Ledger(tmp_path / "results")
    assert ledger.get(SETTINGS) is None and not (tmp_path / "results").exists()
    ledger.put(SETTINGS, SCORE)
    assert Ledger(tmp_path / "results").get({"seeds": [0, 7], "pair": {"main": "x"}}) == SCORE
    assert ledger.get(SETTINGS | {"seeds": [7, 7]}) is None


def test_many_jobs_put_the_same_and_others_at_once(tmp_path):
    def job():
        for i in range(10):
            Ledger(tmp_path).put(SETTINGS | {"seeds": [i, 1]}, Score(value=i, num_images=1))

    Ledger(tmp_path).put(SETTINGS | {"seeds": [0, 1]}, Score(value=0, num_images=1))
    job()
    done = threading.Thread(target=job)
    done.start()
    seen = [Ledger(tmp_path).get(SETTINGS | {"seeds": [i, 1]}) for i in range(10) for _ in range(5)]
    done.join()
    assert [s.value for s in seen] == [i for i in range(10) for _ in range(5)], (
        "an old value, or the new: never half of one"
    )
    assert len(list(tmp_path.iterdir())) == 10


def test_what_a_killed_job_left_is_no_score_and_goes(tmp_path, left_by_the_dead):
    ledger = Ledger(tmp_path)
    ledger.put(SETTINGS, SCORE)
    (file,) = tmp_path.iterdir()
    remains = tmp_path / left_by_the_dead(f"{'0' * 32}.json")
    remains.write_text('{"score": {"val')
    assert Ledger(tmp_path).get(SETTINGS) == SCORE and list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("damage", ["cut", "empty", "digit", "foreign", "binary", "list"])
def test_a_damaged_file_is_named_and_never_a_value(tmp_path, damage):
    ledger = Ledger(tmp_path)
    ledger.put(SETTINGS, SCORE)
    (file,) = tmp_path.iterdir()
    text = file.read_text()
    if damage == "foreign":
        ledger.put({"other": 1}, Score(value=9.0, num_images=1))
        other = next(p for p in tmp_path.iterdir() if p != file)
        other.replace(file)
    elif damage == "binary":
        file.write_bytes(b"\xff\xfe\x00")
    else:
        file.write_text({"cut": text[:50], "empty": "", "digit": text.replace("0.333", "0.334"), "list": "[]"}[damage])
    with pytest.raises(UserError, match=f"{file} is damaged .*delete that file and run the same command"):
        ledger.get(SETTINGS)
    file.unlink()
    assert ledger.get(SETTINGS) is None


def test_the_settings_can_be_read_back(tmp_path):
    Ledger(tmp_path).put(SETTINGS, SCORE)
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["settings"] == SETTINGS
