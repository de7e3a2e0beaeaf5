"""Work beside the caller: its order, its errors and its end are those of work in the caller's place."""

import gc
import itertools
import os
import signal
import threading
import time
from contextlib import closing

import pytest

from edm2lite.background import Behind, ahead

PATIENCE = 20  # seconds, which only a failing test needs


def working(name):
    return [thread for thread in threading.enumerate() if thread.name.startswith(name)]


@pytest.mark.parametrize("depth", [1, 3])
def test_the_next_items_and_no_more_are_made_while_the_caller_works(depth):
    made, taken = [], 0
    ready = [threading.Event() for _ in range(20)]

    def items():
        for i in itertools.count():
            made.append(i)
            yield i
            ready[min(i, 19)].set()  # it was asked for the next one

    with closing(ahead(items(), depth)) as source:
        for item in source:
            assert item == taken
            taken += 1
            assert ready[taken + depth - 2].wait(PATIENCE) and len(made) <= taken + depth
            if taken == 9:
                break
    assert len(made) <= taken + depth and not working("ahead")


def test_items_run_out():
    assert list(ahead(range(5), 2)) == list(range(5)) and list(ahead([])) == [] and not working("ahead")


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt, SystemExit])
def test_an_error_comes_in_its_place(error):
    def items():
        yield from range(3)
        raise error("here")

    taken = []
    with pytest.raises(error, match="here"):
        taken.extend(item for item in ahead(items(), 2))
    source = ahead(items(), 2)
    assert [next(source) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(error, match="here"):
        next(source)
    assert not working("ahead")


def test_an_error_of_the_caller_closes_the_items_in_their_thread():
    closed = []

    def items():
        try:
            yield from itertools.count()
        finally:
            closed.append(threading.current_thread().name)

    with pytest.raises(ZeroDivisionError), closing(ahead(items())) as source:
        for _ in source:
            raise ZeroDivisionError
    assert closed == ["ahead"] and not working("ahead")


def test_what_nobody_closed_ends_as_garbage():
    class Holder:
        def __init__(self):
            self.me, self.items = self, ahead(itertools.count())

    assert next(Holder().items) == 0
    gc.collect()
    assert not working("ahead")


def test_work_goes_on_in_order_while_the_caller_does():
    begun, done, gone_on = threading.Event(), [], threading.Event()

    def work(item):
        begun.set()
        assert gone_on.wait(PATIENCE)
        done.append((item, threading.current_thread().name[:6]))

    with Behind(work, most=3) as behind:
        behind.put(0)
        assert begun.wait(PATIENCE) and not done
        gone_on.set()
        for item in range(1, 9):
            behind.put(item)
    assert done == [(item, "behind") for item in range(9)] and not working("behind")


def test_the_caller_waits_where_too_much_waits():
    gate, handed, done = threading.Semaphore(0), [], []
    two, three = threading.Event(), threading.Event()

    def hand_in():
        with Behind(lambda item: (gate.acquire(), done.append(item)), most=2) as behind:
            for item in range(6):
                behind.put(item)
                handed.append(item)
                (two if item == 1 else three if item == 2 else threading.Event()).set()

    caller = threading.Thread(target=hand_in)
    caller.start()
    assert two.wait(PATIENCE) and not three.wait(0.05)
    gate.release()
    assert three.wait(PATIENCE) and len(handed) == 3 and done == [0]
    gate.release(5)
    caller.join(PATIENCE)
    assert done == list(range(6))


@pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
def test_the_first_error_is_raised_and_what_follows_is_dropped(error):
    done = []

    def work(item):
        if item == 2:
            raise error(f"item {item}")
        done.append(item)

    with pytest.raises(error, match="item 2"), Behind(work) as behind:
        for item in range(9):
            behind.put(item)
            handed = item
    assert done == [0, 1] and handed < 8 and not working("behind")


def test_an_error_is_told_at_the_end_and_what_was_handed_in_before_it_was_known_is_dropped():
    all_in, done = threading.Event(), []

    def work(item):
        assert all_in.wait(PATIENCE)
        if item == 1:
            raise KeyError("item 1")
        done.append(item)

    with pytest.raises(KeyError, match="item 1"), Behind(work, most=9) as behind:
        for item in range(4):
            behind.put(item)
        all_in.set()
    assert done == [0] and not working("behind")


def test_what_was_handed_in_is_finished_when_the_caller_fails():
    failed, done = threading.Event(), []

    def work(item):
        assert failed.wait(PATIENCE)
        done.append(item)
        raise KeyError("told after the caller's")

    with pytest.raises(ZeroDivisionError), Behind(work) as behind:
        behind.put(0)
        failed.set()
        raise ZeroDivisionError
    assert done == [0]
    done.clear()
    with pytest.raises(ZeroDivisionError), Behind(done.append) as behind:
        behind.put(1)
        behind.put(2)
        raise ZeroDivisionError
    assert done == [1, 2]


def test_interrupted_while_leaving_it_finishes_the_work_first():
    begun, go, done = threading.Event(), threading.Event(), []

    def work(item):
        begun.set()
        go.wait(10)
        done.append(item)

    def interrupt():
        begun.wait(10)
        for _ in range(2):  # also an impatient one
            time.sleep(0.1)  # by then the caller waits
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        go.set()

    with pytest.raises(KeyboardInterrupt), Behind(work) as behind:
        behind.put(1)
        behind.put(2)
        threading.Thread(target=interrupt).start()
    assert done == [1, 2]


def test_after_an_error_every_put_raises_it():
    def work(item):
        raise ValueError(item)

    with pytest.raises(ValueError, match="0"), Behind(work, most=1) as behind:
        behind.put(0)
        for i in range(3):
            with pytest.raises(ValueError, match="0"):
                behind.put(1 + i)
