"""Work in other processes: order, and a worker that is killed."""

import os
import signal

import pytest

from edm2lite.errors import UserError
from edm2lite.pool import spread


def double(items):
    return [2 * item for item in items]


def die(items):
    os.kill(os.getpid(), signal.SIGKILL)
    return items


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers):
    assert list(spread(double, range(50), workers)) == list(range(0, 100, 2))


def test_a_killed_worker_is_one_line():
    with pytest.raises(UserError, match="a worker was killed, most likely for want of memory"):
        list(spread(die, range(50), 2))
