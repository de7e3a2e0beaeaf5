"""Reference statistics of other projects: NVIDIA's .pkl (EDM2), and the .npz of EDM and ADM. Nothing in them is run."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from edm2lite.errors import UserError
from edm2lite.evaluation.reference import Reference, Statistics
from edm2lite.snapshots.pickle_reader import MALFORMED, PickleReader, Refused, Unbuilt, shown, typed

_DETECTORS = {"fid": "inception", "fd_dinov2": "dinov2"}  # NVIDIA's metric -> our detector
_MOST_ELEMENTS = 10**8


def from_moments(path: str, arrays: Mapping[str, Any]) -> Reference:
    """Statistics of Inception features from an .npz with `mu` and `sigma`; ADM's has some of the images, too, in `arr_0`."""
    mu, sigma = (np.asarray(arrays[key], np.float64) for key in ("mu", "sigma"))
    if len(mu) != 2048:
        raise UserError(
            f"{path} has {len(mu)} features and does not say of which detector; make it anew: evaluate.py ref"
        )
    images = path if "arr_0" in arrays else None
    return Reference(
        path=path, data={"file": path}, statistics={"inception": Statistics(mu=mu, sigma=sigma)}, images=images
    )


def read_nvidia_statistics(path: str) -> Reference:
    """EDM2's reference file, {num_images, fid: {mu, sigma}, fd_dinov2: {mu, sigma}}, or one of these metrics alone.

    Raises:
        UserError: If it is damaged, or holds anything but such numbers.
    """
    try:
        with open(path, "rb") as f:
            reader = PickleReader(f, _MAKERS)
            return _reference(path, reader.load())
    except Refused as e:
        raise UserError(f"{path}: refused: {e}; get the file from its publisher again") from None
    except MALFORMED as e:
        if isinstance(e, UserError):
            raise
        why = f"{type(e).__name__}: {shown(str(e))}"
        raise UserError(f"{path} is no complete pickle of reference statistics ({why}); get the file again") from None


def _reference(path: str, content: Any) -> Reference:
    content = typed(content, dict)
    number = content.get("num_images")
    statistics = {
        detector: Statistics(
            mu=np.array(content[metric]["mu"], np.float64), sigma=np.array(content[metric]["sigma"], np.float64),
            num_images=None if number is None else int(number),
        )
        for metric, detector in _DETECTORS.items()
        if metric in content
    }  # fmt: skip
    if not statistics:
        there = shown(", ".join(map(str, content))) or "nothing"
        raise UserError(f"{path} holds {there}; reference statistics hold fid or fd_dinov2")
    return Reference(path=path, data={"file": path}, statistics=statistics)


def _array(*arguments: Any) -> Unbuilt:
    """numpy's `_reconstruct`: an array whose shape, type and bytes come with its state."""
    return Unbuilt(_finish_array)


def _finish_array(state: Any) -> np.ndarray:
    _, shape, dtype, fortran, content = typed(state, tuple)
    if not isinstance(dtype, np.dtype):
        raise Refused("it has an array of something other than numbers")
    if int(np.prod(shape)) > _MOST_ELEMENTS:
        raise Refused(f"it has an array of {list(shape)}; statistics are far smaller")
    flat = np.frombuffer(typed(content, bytes), dtype)
    return flat.reshape(typed(shape, tuple), order="F" if fortran else "C")


def _dtype(code: Any, *_: Any) -> Unbuilt:
    if typed(code, str) not in ("f8", "f4", "i8", "i4"):
        raise Refused(f"it has numbers of type {shown(code)}; allowed are f8, f4, i8, i4")
    return Unbuilt(lambda state: np.dtype(f"{'<' if state[1] == '|' else typed(state[1], str)}{code}"))


def _scalar(dtype: Any, content: Any) -> float | int:
    number: float | int = np.frombuffer(typed(content, bytes), dtype).item()
    return number


def _bytes(text: Any, *_: Any) -> bytes:
    """As pickles of protocols below 3 hold them."""
    return bytes(typed(text, str), "latin1")


_MAKERS: dict[str, Any] = {"numpy.ndarray": None, "numpy.dtype": _dtype, "_codecs.encode": _bytes}
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):
    _MAKERS |= {f"{_module}._reconstruct": _array, f"{_module}.scalar": _scalar}
