"""Progress bars: done of total, rate, time left. One look for all commands; in a log file a line every ten seconds."""

import sys

from tqdm import tqdm


def progress_bar(total: int, desc: str, initial: int = 0, disable: bool = False, unit: str = "img") -> tqdm:
    """A bar over images (or bytes: unit "B"), on standard error.

    Args:
        total: Units in all.
        desc: What is going on.
        initial: Units done before.
        disable: Show nothing.
        unit: What is counted.
    """
    interactive = sys.stderr.isatty()
    return tqdm(
        total=total,
        initial=initial,
        desc=desc,
        unit=unit,
        unit_scale=True,
        disable=disable,
        mininterval=0.5 if interactive else 10,
        dynamic_ncols=interactive,
    )
