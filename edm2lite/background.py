"""Work beside the caller, in one thread: items made ahead of it, or work done behind it. Imports no torch."""

import threading
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, nullcontext
from queue import SimpleQueue
from typing import Any, Generic, Self, TypeVar

T = TypeVar("T")
_END: Any = object()


def ahead(items: Iterable[T], depth: int = 1) -> Generator[T, None, None]:
    """The same items, of which the next `depth` are made in a thread while the caller works on one.

    An exception comes in the place of the item that it prevented. Closed (`contextlib.closing`), it waits for the item that has
    been begun, drops what was not taken and closes `items`; what goes wrong then is not told.

    Args:
        items: Used in that thread alone, and closed there if it is a generator.
        depth: Items that lie ready or are being made.
    """
    made: SimpleQueue[tuple[T, BaseException | None]] = SimpleQueue()
    room, stop = threading.Semaphore(depth), threading.Event()
    # no executor: collected as garbage together with this generator, it would not run what is submitted any more
    thread = threading.Thread(target=_make, args=(items, made, room, stop), name="ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is _END:
                return
            room.release()
            yield item
    finally:
        stop.set()
        room.release()
        thread.join()


def _make(
    items: Iterable[T],
    made: SimpleQueue[tuple[T, BaseException | None]],
    room: threading.Semaphore,
    stop: threading.Event,
) -> None:
    """Fill `made` as there is room, then say that it is the end, or why."""
    try:
        source = iter(items)
        with closing(source) if isinstance(source, Generator) else nullcontext():
            while room.acquire() and not stop.is_set():
                made.put((next(source), None))
    except StopIteration:
        made.put((_END, None))
    except BaseException as e:  # the caller's to handle
        made.put((_END, e))


class Behind(Generic[T]):
    """Does work on items in a thread, in their order, while the caller makes the next ones; a context manager.

    The first error of the work is raised by the next `put`, or at the end; what was handed in after that item is dropped. If
    the caller leaves by an error of its own, that one is raised, and what was handed in before is finished.

    Args:
        work: What is done with each item.
        most: Items handed in and not finished; `put` waits while there are as many.
    """

    def __init__(self, work: Callable[[T], object], most: int = 2):
        self._work, self._room = work, threading.Semaphore(most)
        self._thread = ThreadPoolExecutor(1, "behind")
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """Hand in an item; raises the error of an earlier one."""
        self._room.acquire()
        if self._error is not None:
            self._room.release()
            raise self._error
        self._thread.submit(self._do, item)

    def _do(self, item: T) -> None:
        try:
            if self._error is None:
                self._work(item)
        except BaseException as e:  # the caller's to handle
            self._error = e
        finally:
            self._room.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        interrupted: BaseException | None = None
        last: Future[int] | None = None
        while last is None or not last.done():
            try:  # not the thread's join: interrupted by a signal, it takes a thread that works for one that has ended
                last = last or self._thread.submit(int)
                last.exception()
            except BaseException as e:  # what was handed in is finished first
                interrupted = e
        self._thread.shutdown()
        if kind is None and (error := interrupted or self._error) is not None:
            raise error
