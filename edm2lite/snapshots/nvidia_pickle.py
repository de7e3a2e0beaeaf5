"""Reads NVIDIA's published EDM2 `.pkl` snapshots without running anything that is in them.

A pickle is a program: loading one calls whatever functions it names, and these files moreover carry Python source that
their own loader executes. So nothing here unpickles: `PickleReader` replays the opcodes that build plain data, the table
`_MAKERS` says what each name in the file becomes, the embedded source is dropped unread, and tensors become numpy views
whose bounds were checked. Neither torch nor NVIDIA's packages are imported.
"""

import io
import math
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any, cast

import numpy as np

from edm2lite.errors import UserError
from edm2lite.snapshots.pickle_reader import MALFORMED, Name, PickleReader, Refused, Unbuilt, shown, typed


@dataclass(frozen=True)
class PublishedObject:
    """One object of the published code, as inert data.

    `init_kwargs` are the keyword arguments it was made with. `state` holds all its attributes by name, nested objects
    as `PublishedObject`, tensors as read-only numpy arrays under `_parameters` and `_buffers`.
    """

    class_name: str
    init_kwargs: dict[str, object]
    state: dict[str, object]


@dataclass(frozen=True)
class PublishedSnapshot:
    """What one snapshot file holds.

    `tensors`: state-dict name -> contiguous, writable array of its own, in state-dict order and in the file's dtype.
    `loss`: the plain numbers of the training loss, such as `P_mean`, `P_std` (both of ln sigma) and `sigma_data`.
    """

    network: PublishedObject
    tensors: dict[str, np.ndarray]
    encoder: PublishedObject | None
    dataset_kwargs: dict[str, object]
    loss: dict[str, object]


def read_nvidia_pickle(path: str | os.PathLike[str]) -> PublishedSnapshot:
    """The snapshot in the file `path`; `UserError` when it cannot be read, is damaged, or holds anything unexpected."""
    file_name, position = os.fspath(path), 0
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            reader = PickleReader(cast(IO[bytes], data), _MAKERS)
            try:
                return _snapshot(reader.load(), len(data))
            finally:
                position = reader.position
    except OSError as error:
        raise UserError(f"{file_name}: cannot be read ({error.strerror}); check the path") from None
    except Refused as error:
        raise UserError(f"{file_name}: refused: {error}; get the file from its publisher again") from None
    except MALFORMED as error:
        why = f"byte {position}: {type(error).__name__}: {shown(str(error))}"
        raise UserError(f"{file_name}: not a complete snapshot pickle ({why}); get the file again") from None


def _persistent_object(meta: Any) -> PublishedObject:
    if meta["type"] != "class" or typed(meta["version"], int) != 6:
        raise Refused(f"its objects have layout version {meta['version']}; allowed is 6")
    state = typed(meta["state"], dict)
    return PublishedObject(typed(meta["class_name"], str), typed(state.get("_init_kwargs", {}), dict), state)


def _module_dict() -> Unbuilt:
    return Unbuilt(lambda state: PublishedObject("ModuleDict", {}, typed(state, dict)))


_CODES = {"Double": "<f8", "Float": "<f4", "Half": "<f2", "Long": "<i8", "Int": "<i4", "Short": "<i2", "Char": "|i1"}
_CODES |= {"Byte": "|u1", "Bool": "|b1", "Untyped": "|u1", "BFloat16": ""}
_STORAGES = {f"torch.{kind}Storage": code for kind, code in _CODES.items()}


def _storage(raw: Any) -> np.ndarray:
    """The 1-D read-only view of the elements in a `torch.save` of one storage (the older layout: no zip file)."""
    stream = io.BytesIO(typed(raw, bytes))
    parts = [PickleReader(stream, dict.fromkeys(_STORAGES), inner=True).load() for _ in range(5)]
    magic, protocol, system, claim, keys = parts
    if (magic, protocol) != (0x1950A86A20F9469CFC6C, 1001) or typed(system, dict).get("little_endian") is not True:
        raise Refused("a tensor's bytes do not begin like a little-endian torch storage")
    tag, kind, key, _, count, view = typed(claim, tuple)
    code = _STORAGES[typed(kind, Name).text]
    if not code:
        raise Refused("its tensors are bfloat16, which numpy has not; allowed are float16, float32, float64, integers")
    (stored,) = np.frombuffer(raw, "<i8", 1, stream.tell())
    present = len(raw) - stream.tell() - 8
    if tag != "storage" or view is not None or keys != [typed(key, str)] or stored != typed(count, int):
        raise Refused("a tensor's storage contradicts itself")
    if count * np.dtype(code).itemsize != present:
        raise Refused(f"a tensor's storage claims {count} elements of type {code[1:]} and has {present} bytes")
    return np.frombuffer(raw, code, count, stream.tell() + 8)


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *_ignored: object) -> np.ndarray:
    """The view of shape `size` (strides in elements), wholly inside `storage` and no larger than it."""
    numbers = (offset, *typed(size, tuple), *typed(stride, tuple))
    if len(size) != len(stride) or len(size) > 8 or any(typed(number, int) < 0 for number in numbers):
        raise Refused("a tensor has a negative number, or not one stride for each of at most 8 dimensions")
    count = math.prod(size)
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count > typed(storage, np.ndarray).size or (count and last >= storage.size):
        where = shown(f"size {size}, stride {stride}, offset {offset}")
        raise Refused(f"a tensor lies outside its storage of {storage.size} elements: {where}")
    strides = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)


def _parameter(tensor: Any, *_ignored: object) -> np.ndarray:
    return typed(tensor, np.ndarray)


_NUMPY_CODES = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")


def _dtype(code: Any, *_ignored: object) -> Unbuilt:
    code = typed(code, str).lstrip("<>|=")
    if code not in _NUMPY_CODES:
        raise Refused(f"it has a numpy array of type {shown(code)}; allowed are {', '.join(_NUMPY_CODES)}")
    return Unbuilt(lambda state: np.dtype(code).newbyteorder({"<": "<", ">": ">", "|": "|", "=": "="}[state[1]]))


def _array(state: Any) -> np.ndarray:
    _, shape, dtype, fortran, raw = state
    if not isinstance(dtype, np.dtype) or any(typed(n, int) < 0 for n in typed(shape, tuple)):
        raise Refused("a numpy array has no plain type or a negative size")
    return np.frombuffer(typed(raw, bytes), dtype).reshape(shape, order="F" if fortran else "C")


_MAKERS: dict[str, Callable[..., object] | None] = {
    "dnnlib.util.EasyDict": lambda: {},
    "collections.OrderedDict": lambda: {},
    "torch_utils.persistence._reconstruct_persistent_obj": _persistent_object,
    "torch.nn.modules.container.ModuleDict": _module_dict,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch.storage._load_from_bytes": _storage,
    "numpy.ndarray": None,
    "numpy.dtype": _dtype,
    "numpy.core.multiarray._reconstruct": lambda *_ignored: Unbuilt(_array),  # before numpy 2
    "numpy._core.multiarray._reconstruct": lambda *_ignored: Unbuilt(_array),
}


def _snapshot(top: Any, file_size: int) -> PublishedSnapshot:
    network = typed(top, dict).get("ema") or top.get("net")
    if not isinstance(network, PublishedObject):
        raise Refused(f"it holds no network under 'ema' or 'net'; its entries are {shown(', '.join(map(str, top)))}")
    encoder, loss = top.get("encoder"), top.get("loss_fn")
    numbers = loss.state.items() if isinstance(loss, PublishedObject) else ()
    views = _state_dict(network, "", set())
    if sum(view.nbytes for view in views.values()) > file_size:  # many tensors on one storage, then copied
        raise Refused("its tensors together are larger than the file")
    return PublishedSnapshot(
        network=network,
        tensors={name: np.array(view, order="C") for name, view in views.items()},
        encoder=encoder if isinstance(encoder, PublishedObject) else None,
        dataset_kwargs=typed(top.get("dataset_kwargs") or {}, dict),
        loss={name: value for name, value in numbers if type(value) in (int, float) and not name.startswith("_")},
    )


def _state_dict(module: Any, prefix: str, seen: set[int]) -> dict[str, np.ndarray]:
    """`module`'s tensors by name, in torch's order: its parameters, its buffers, then each submodule's."""
    state = typed(module, PublishedObject).state
    if id(module) in seen:
        raise Refused(f"its module {shown(prefix)} is used twice")  # a cycle, or a tree that grows without end
    seen.add(id(module))
    own = state.get("_parameters", {}) | state.get("_buffers", {})
    skipped = state.get("_non_persistent_buffers_set", ())
    tensors = {f"{prefix}{k}": typed(v, np.ndarray) for k, v in own.items() if v is not None and k not in skipped}
    for name, child in state.get("_modules", {}).items():
        if child is not None:
            tensors |= _state_dict(child, f"{prefix}{name}.", seen)
    return tensors
