"""Work spread over processes, results in order, with a bounded number of items in flight. Imports no torch."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVar

from edm2lite.errors import UserError

T = TypeVar("T")
R = TypeVar("R")
_BATCH = 8  # items that go to a worker together


def spread(work: Callable[[list[T]], list[R]], items: Iterable[T], workers: int) -> Iterator[R]:
    """Results of all items, in order; at most 2 batches a worker wait.

    Raises:
        UserError: If a worker was killed, most likely for want of memory.
    """
    source = iter(items)
    batches = iter(lambda: list(itertools.islice(source, _BATCH)), [])
    if workers == 1:
        for batch in batches:
            yield from work(batch)
        return
    with processes(workers) as pool:
        waiting: deque[Future[list[R]]] = deque()
        for batch in batches:
            waiting.append(pool.submit(work, batch))
            if len(waiting) >= 2 * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()


@contextmanager
def processes(workers: int, begin: Callable[[], None] | None = None) -> Iterator[ProcessPoolExecutor]:
    """A pool of fresh processes, which leave Ctrl-C to this one and end with it; what waits is dropped at the end.

    Args:
        workers: How many.
        begin: Called in each of them first; a function that they can import.

    Raises:
        UserError: If a worker was killed, most likely for want of memory.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that other threads hold
    with ProcessPoolExecutor(workers, context, _begin_worker, (begin,)) as pool:
        try:
            yield pool
        except BrokenProcessPool as e:
            raise UserError(
                "a worker was killed, most likely for want of memory; run again with fewer --workers"
            ) from e
        finally:
            pool.shutdown(cancel_futures=True)


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin_worker(begin: Callable[[], None] | None) -> None:
    """A worker leaves Ctrl-C to its parent, and ends when the parent is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    if begin is not None:
        begin()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
