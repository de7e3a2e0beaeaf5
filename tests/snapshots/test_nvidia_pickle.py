"""Reading published snapshots, and refusing everything that only looks like one."""

import io
import pickle
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edm2lite.errors import UserError
from edm2lite.snapshots.nvidia_pickle import PublishedObject, PublishedSnapshot, read_nvidia_pickle

GOLDEN = Path(__file__).parents[1] / "golden"
_SMALL: dict[str, Any] = {
    "img_resolution": 16,
    "img_channels": 3,
    "label_dim": 10,
    "channel_mult": [1, 2],
    "num_blocks": 1,
}
_SMALL |= {"attn_resolutions": [8], "channels_per_head": 32}
NETS: dict[str, dict[str, Any]] = {  # the networks that the golden files were made with
    "guide": _SMALL | {"model_channels": 16},
    "cond": _SMALL | {"model_channels": 32},
    "uncond": {"img_resolution": 8, "img_channels": 4, "label_dim": 0, "model_channels": 16, "channel_mult": [1, 2, 2]}
    | {"num_blocks": 2, "attn_resolutions": [4], "channels_per_head": 16}
    | {"channel_mult_noise": 2, "channel_mult_emb": 3},
}


# ---- a writer of arbitrary pickles -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Name:
    """Pickled as the global `module.attribute`."""

    module: str
    attribute: str


@dataclass
class Op:
    """Pickled as `parts`, then the raw `opcode`: REDUCE, BUILD, NEWOBJ or BINPERSID."""

    opcode: bytes
    parts: tuple[Any, ...]


PythonPickler: Any = vars(pickle)["_Pickler"]  # the one that can be told to write nonsense


class Writer(PythonPickler):
    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if isinstance(obj, Name) and self.proto < 4:
            self.write(f"c{obj.module}\n{obj.attribute}\n".encode())
        elif isinstance(obj, Name | Op):
            for part in obj.parts if isinstance(obj, Op) else (obj.module, obj.attribute):
                self.save(part)
            self.write(obj.opcode if isinstance(obj, Op) else pickle.STACK_GLOBAL)
        else:
            super().save(obj, save_persistent_id)


def dumps(value: object, protocol: int = 4) -> bytes:
    stream = io.BytesIO()
    Writer(stream, protocol).dump(value)
    return stream.getvalue()


def call(module: str, attribute: str, *arguments: object) -> Op:
    return Op(pickle.REDUCE, (Name(module, attribute), arguments))


def persistent(
    class_name: str, state: Mapping[str, object], source: str = "raise RuntimeError", **kwargs: object
) -> Op:
    meta = {"type": "class", "version": 6, "module_src": source, "class_name": class_name}
    meta |= {"state": {"_init_args": (), "_init_kwargs": kwargs, **state}}
    return call("torch_utils.persistence", "_reconstruct_persistent_obj", meta)


def saved(
    values: np.ndarray, kind: object = Name("torch", "HalfStorage"), count: int | None = None, **change: Any
) -> bytes:
    """What a legacy `torch.save` writes for the storage that holds `values`."""
    claim = ("storage", kind, "7", "cpu", values.size if count is None else count, None)
    parts = [change.get("magic", 0x1950A86A20F9469CFC6C), 1001, {"little_endian": change.get("little", True)}]
    parts += [Op(pickle.BINPERSID, (change.get("claim", claim),)), change.get("keys", ["7"])]
    stored = np.int64(values.size if count is None else count).tobytes()
    return b"".join(dumps(part, 2) for part in parts) + stored + values.tobytes()


HALVES = np.arange(6, dtype=np.float16)


def tensor(raw: object = saved(HALVES), offset: object = 0, size: object = (2, 3), stride: object = (3, 1)) -> Op:
    storage = call("torch.storage", "_load_from_bytes", raw)
    return call("torch._utils", "_rebuild_tensor_v2", storage, offset, size, stride, False, call(*ORDERED))


ORDERED = ("collections", "OrderedDict")


def parameter(value: object) -> Op:
    return call("torch._utils", "_rebuild_parameter", value, True, call(*ORDERED))


def network(weight: object, **extra: object) -> dict[str, Any]:
    """A snapshot of a network with the buffer `freqs` and the parameter `enc.conv.weight`."""
    conv = persistent("MPConv", {"_parameters": {"weight": weight, "bias": None}, "_buffers": {}, "_modules": {}})
    blocks = Op(pickle.NEWOBJ, (Name("torch.nn.modules.container", "ModuleDict"), ()))
    blocks = Op(pickle.BUILD, (blocks, {"_parameters": {}, "_buffers": {}, "_modules": {"conv": conv}}))
    state = {"_buffers": {"freqs": tensor(size=(6,), stride=(1,))}, "_modules": {"enc": blocks, "emb_label": None}}
    loss = persistent("EDM2Loss", {"P_mean": -0.4, "P_std": 1, "flag": True})
    return {"ema": persistent("Precond", state, img_resolution=8), "loss_fn": loss, **extra}


def read(tmp_path: Path, content: bytes | object) -> PublishedSnapshot:
    path = tmp_path / "x.pkl"
    path.write_bytes(content if isinstance(content, bytes) else dumps(content))
    return read_nvidia_pickle(path)


def refused(tmp_path: Path, content: bytes | object, *words: str) -> None:
    with pytest.raises(UserError) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/x.pkl: ") and message.isprintable() and len(message) < 1500
    assert all(word in message for word in words), message
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.pkl"]  # no payload has left a file


# ---- what is read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("net", "count"), [("guide", 63), ("cond", 63), ("uncond", 115)])
def test_golden_files_are_read(net: str, count: int) -> None:
    snapshot = read_nvidia_pickle(GOLDEN / f"snapshot-{net}.pkl")
    assert snapshot.network.class_name == "Precond"
    assert snapshot.network.init_kwargs == NETS[net] | {"use_fp16": True}
    modules: Any = snapshot.network.state["_modules"]
    assert modules["unet"].init_kwargs == NETS[net]
    assert snapshot.loss == {"P_mean": -0.4, "P_std": 1.0, "sigma_data": 0.5}
    assert snapshot.dataset_kwargs["use_labels"] is (net != "uncond")
    assert len(snapshot.tensors) == count
    for array in snapshot.tensors.values():
        assert array.dtype == np.float16 and array.flags.c_contiguous and array.flags.writeable
        assert np.isfinite(array).all()
    names = list(snapshot.tensors)
    assert names[:2] == ["unet.out_gain", "unet.emb_fourier.freqs"] and names[-1] == "logvar_linear.weight"
    channels = NETS[net]["model_channels"]
    assert snapshot.tensors["unet.out_conv.weight"].shape == (NETS[net]["img_channels"], channels, 3, 3)
    assert snapshot.tensors["unet.out_gain"].shape == ()


def test_golden_encoders() -> None:
    rgb, vae = (read_nvidia_pickle(GOLDEN / f"snapshot-{net}.pkl").encoder for net in ("cond", "uncond"))
    assert rgb == PublishedObject("StandardRGBEncoder", {}, {"_init_args": (), "_init_kwargs": {}})
    assert vae is not None and vae.class_name == "StabilityVAEEncoder" and vae.state["batch_size"] == 8
    scale: Any = vae.state["scale"]
    np.testing.assert_allclose(scale, [0.1199, 0.1082, 0.1348, 0.1524], atol=1e-4)


def test_nothing_foreign_is_imported() -> None:
    code = (
        "import sys; from edm2lite.snapshots.nvidia_pickle import read_nvidia_pickle\n"
        f"read_nvidia_pickle({str(GOLDEN / 'snapshot-uncond.pkl')!r})\n"
        "print([m for m in ('torch', 'dnnlib', 'torch_utils', 'training', 'pickle_canary') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=GOLDEN.parents[1])
    assert done.stdout.strip() == "[]", done.stderr


@pytest.mark.parametrize("key", ["ema", "net"])
@pytest.mark.parametrize("protocol", [3, 4])
def test_small_snapshot_is_read(tmp_path: Path, key: str, protocol: int) -> None:
    top = network(parameter(tensor()), dataset_kwargs={"path": "a.zip"}, encoder=None)
    top[key] = top.pop("ema")
    snapshot = read(tmp_path, dumps(top, protocol))
    assert list(snapshot.tensors) == ["freqs", "enc.conv.weight"]
    np.testing.assert_array_equal(snapshot.tensors["enc.conv.weight"], HALVES.reshape(2, 3))
    assert snapshot.network.init_kwargs == {"img_resolution": 8}
    assert (snapshot.encoder, snapshot.dataset_kwargs) == (None, {"path": "a.zip"})
    assert snapshot.loss == {"P_mean": -0.4, "P_std": 1}


def test_embedded_source_is_not_run(tmp_path: Path) -> None:
    encoder = persistent("VAE", {}, source=f"open({str(tmp_path / 'ran')!r}, 'w')")
    snapshot = read(tmp_path, network(tensor(), encoder=encoder))
    assert snapshot.encoder is not None and not (tmp_path / "ran").exists()
    assert "open(" not in repr(snapshot.encoder)


def test_strided_and_other_dtypes(tmp_path: Path) -> None:
    turned = read(tmp_path, network(tensor(offset=0, size=(3, 2), stride=(1, 3)))).tensors["enc.conv.weight"]
    np.testing.assert_array_equal(turned, HALVES.reshape(2, 3).T)
    assert turned.flags.c_contiguous
    for kind, dtype in {"Float": "f4", "Double": "f8", "Long": "i8", "Byte": "u1", "Bool": "b1"}.items():
        raw = saved(np.array([0, 1, 1], dtype), Name("torch", f"{kind}Storage"))
        array = read(tmp_path, network(tensor(raw, 1, (2,), (1,)))).tensors["enc.conv.weight"]
        assert array.dtype == dtype and array.tolist() == [1, 1]
    empty = tensor(saved(HALVES[:0]), 0, (0, 4), (4, 1))
    assert read(tmp_path, network(empty)).tensors["enc.conv.weight"].shape == (0, 4)


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_vae_encoder_with_real_numpy_arrays(tmp_path: Path, module: str) -> None:
    mean, grid = np.array([5.81, 3.25, 0.12, -2.15], np.float32), np.asfortranarray(np.arange(6.0).reshape(2, 3))
    state = {"raw_mean": mean, "again": mean, "grid": grid, "big": mean.astype(">f4")}
    raw = dumps(network(tensor(), encoder=persistent("StabilityVAEEncoder", state, raw_mean=mean)), 3)
    for name in ("numpy.core.multiarray", "numpy._core.multiarray"):
        raw = raw.replace(f"c{name}\n".encode(), f"c{module}\n".encode())
    assert module.encode() in raw
    encoder = read(tmp_path, raw).encoder
    assert encoder is not None
    for value in (encoder.state["raw_mean"], encoder.state["again"], encoder.state["big"]):
        np.testing.assert_array_equal(value, mean)
    np.testing.assert_array_equal(encoder.state["grid"], grid)
    np.testing.assert_array_equal(encoder.init_kwargs["raw_mean"], mean)


# ---- what is refused ---------------------------------------------------------------------------------------------


def getattr_chain(_path: str) -> object:
    return call("builtins", "getattr", Name("collections", "OrderedDict"), "__init__")


def touch(path: str) -> Op:
    return call("os", "system", f"touch {path}")


PAYLOADS: dict[str, tuple[Callable[[str], object], str]] = {
    "os.system": (touch, "os.system"),
    "posix.system": (lambda path: call("posix", "system", f"touch {path}"), "posix.system"),
    "eval": (lambda path: call("builtins", "eval", f"open({path!r}, 'w')"), "builtins.eval"),
    "getattr": (getattr_chain, "builtins.getattr"),
    "dotted": (lambda _: call("collections", "OrderedDict.fromkeys", [1]), "OrderedDict.fromkeys"),
    "dotted numpy": (lambda _: Name("numpy", "ndarray.tofile"), "numpy.ndarray.tofile"),
    "stub's inside": (lambda _: Name("torch.storage", "_load_from_bytes.__globals__"), "__globals__"),
    "torch.load": (lambda path: call("torch", "load", path), "torch.load"),
    "storage": (lambda path: tensor(dumps(touch(path), 2) + saved(HALVES)), "os.system"),
    "storage's magic": (lambda path: tensor(saved(HALVES, magic=touch(path))), "os.system"),
    "storage's claim": (lambda path: tensor(saved(HALVES, claim=touch(path))), "os.system"),
    "storage's keys": (lambda path: tensor(saved(HALVES, keys=[touch(path)])), "os.system"),
    "storage name": (lambda _: tensor(saved(HALVES, Name("os", "system"))), "os.system"),
    "escape codes": (lambda _: Name("os\x1b[2J\n", "system"), "x1b"),
    "called ndarray": (lambda _: call("numpy", "ndarray", (10**12,)), "numpy.ndarray"),
    "called data": (lambda _: Op(pickle.REDUCE, ("os.system", ("touch",))), "str"),
    "persistent id": (lambda _: Op(pickle.BINPERSID, ("1",)), "BINPERSID"),
    "other opcodes": (lambda _: Op(b"\x82\x01", ()), "EXT1"),
}


def test_the_payloads_are_live(tmp_path: Path) -> None:
    pickle.loads(dumps(touch(str(tmp_path / "ran"))))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("place", ["top", "weight", "encoder"])
def test_payloads_are_refused(tmp_path: Path, name: str, place: str) -> None:
    make, word = PAYLOADS[name]
    payload = make(str(tmp_path / "ran"))
    content = (
        payload if place == "top" else network(payload) if place == "weight" else network(tensor(), encoder=payload)
    )
    refused(tmp_path, content, "refused", word)


@pytest.mark.parametrize("stub", ["dnnlib.util EasyDict", "torch._utils _rebuild_parameter", "numpy dtype"])
@pytest.mark.parametrize("state", [{"__call__": 1}, (None, {"__code__": 1, "text": "os.system"})])
def test_build_cannot_change_a_stub(tmp_path: Path, stub: str, state: object) -> None:
    name = Name(*stub.split())
    refused(tmp_path, network(tensor(), encoder=Op(pickle.BUILD, (name, state))), "sets the state")
    assert read(tmp_path, network(parameter(tensor()))).tensors


@pytest.mark.parametrize("state", [{"update": 1}, (None, {"update": 1})])
def test_build_cannot_change_a_built_object(tmp_path: Path, state: object) -> None:
    for target in (call("dnnlib.util", "EasyDict"), tensor(), persistent("Precond", {}), [1], 7):
        refused(tmp_path, network(tensor(), encoder=Op(pickle.BUILD, (target, state))), "sets the state")


BAD_TENSORS = {
    "too large": ((0, (2, 4), (4, 1)), "outside"),
    "offset": ((1, (2, 3), (3, 1)), "outside"),
    "stride": ((0, (2, 3), (4, 1)), "outside"),
    "expanded": ((0, (10**6, 10**6), (0, 0)), "outside"),
    "negative stride": ((5, (6,), (-1,)), "negative"),
    "negative offset": ((-1, (2,), (1,)), "negative"),
    "negative size": ((0, (-2, -3), (3, 1)), "negative"),
    "huge": ((0, (2**62, 2**62), (2**62, 2**62)), "outside"),
    "ragged": ((0, (2, 3), (3,)), "one stride"),
    "many dimensions": ((0, (1,) * 70, (1,) * 70), "dimensions"),
    "no integers": ((0.0, (2, 3), (3, 1)), "float"),
    "no tuple": ((0, [2, 3], (3, 1)), "list"),
}


@pytest.mark.parametrize("name", BAD_TENSORS)
def test_tensors_outside_their_storage(tmp_path: Path, name: str) -> None:
    (offset, size, stride), word = BAD_TENSORS[name]
    refused(tmp_path, network(tensor(saved(HALVES), offset, size, stride)), word)


BAD_STORAGES = {
    "huge claim": (saved(HALVES, count=2**40), "claims"),
    "claim times size overflows": (saved(HALVES, count=2**62), "claims"),
    "negative claim": (saved(HALVES, count=-6), "claims"),
    "small claim": (saved(HALVES, count=5), "claims"),
    "bytes missing": (saved(HALVES)[:-1], "claims"),
    "count missing": (saved(HALVES)[:-18], "not a complete"),
    "magic": (saved(HALVES, magic=7), "torch storage"),
    "big-endian": (saved(HALVES, little=False), "torch storage"),
    "keys": (saved(HALVES, keys=["7", "8"]), "contradicts"),
    "no claim": (saved(HALVES, claim="7"), "str"),
    "bfloat16": (saved(HALVES, Name("torch", "BFloat16Storage")), "bfloat16"),
    "zip": (b"PK\x03\x04" + bytes(100), "not a complete"),
    "no bytes": (7, "int"),
    "long": (dumps([{}] * 200, 2), "opcodes"),
}


@pytest.mark.parametrize("name", BAD_STORAGES)
def test_storages_that_contradict_themselves(tmp_path: Path, name: str) -> None:
    raw, word = BAD_STORAGES[name]
    refused(tmp_path, network(tensor(raw)), word)


def numpy_array(shape: object, code: str, order: str, raw: object) -> Op:
    made = call("numpy.core.multiarray", "_reconstruct", Name("numpy", "ndarray"), (0,), b"b")
    dtype = Op(pickle.BUILD, (call("numpy", "dtype", code, False, True), (3, order, None, None, None, -1, -1, 0)))
    return Op(pickle.BUILD, (made, (1, shape, dtype, False, raw)))


BAD_ARRAYS = {
    "objects": (np.array([print], dtype=object), "O8"),
    "object bytes": (numpy_array((1,), "O8", "|", bytes(8)), "O8"),
    "records": (np.zeros(2, [("a", "f4")]), "V4"),
    "text": (np.array(["a"]), "U1"),
    "huge": (numpy_array((2**40,), "f4", "<", bytes(16)), "not a complete"),
    "negative": (numpy_array((-1,), "f4", "<", bytes(16)), "negative"),
    "order": (numpy_array((1,), "f4", "2", bytes(4)), "not a complete"),
    "pickled list": (numpy_array((1,), "f4", "<", [1]), "list"),
    "subclass": (call("numpy.core.multiarray", "_reconstruct", Name("os", "system"), (0,), b"b"), "os.system"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_numpy_arrays_of_anything_but_numbers(tmp_path: Path, name: str) -> None:
    value, word = BAD_ARRAYS[name]
    refused(tmp_path, network(tensor(), encoder=persistent("StabilityVAEEncoder", {"raw_mean": value})), word)


BOMBS = {
    "nested key": (b"\x80\x04})" + b"\x85" * 100_000 + b"Ns.", "tuple"),  # overflows the C stack in pickle.loads
    "nested data": (b"\x80\x04)" + b"\x85" * 400_000 + b".", "tuple"),
    "opcodes": (b"\x80\x04" + b"}" * 500_001 + b".", "opcodes"),
    "claimed bytes": (b"\x80\x04\x8e" + (2**50).to_bytes(8, "little") + b"abc.", "not a complete"),
    "memo of 2**31 places": (b"\x80\x04Nr\xff\xff\xff\x7f.", "NoneType"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path: Path, name: str) -> None:
    content, word = BOMBS[name]
    refused(tmp_path, content, word)


def test_one_object_used_many_times(tmp_path: Path) -> None:
    put, again = b"r\xff\xff\x00\x00", Op(b"j\xff\xff\x00\x00", ())  # under a number that nothing else has
    large = tensor(saved(np.zeros(50_000, np.float16)), 0, (50_000,), (1,))
    weights = {"0": Op(put, (large,))} | {str(i): again for i in range(1, 1000)}
    refused(tmp_path, {"ema": persistent("Precond", {"_parameters": weights})}, "larger than the file")
    modules = {"a": Op(put, (persistent("Block", {}),)), "b": again}
    refused(tmp_path, {"ema": persistent("Precond", {"_modules": modules})}, "used twice")
    layer = dumps({"ema": persistent("Block", {"_modules": {"a": "inside"}})}, 3).split(b"X\x06\0\0\0inside")
    inner = layer[0][layer[0].index(b"ctorch_utils") :], layer[1][: layer[1].rindex(b"R") + 1]
    refused(tmp_path, layer[0] + inner[0] * 3000 + b"N" + inner[1] * 3000 + layer[1], "RecursionError")


def test_other_files(tmp_path: Path) -> None:
    for content in (b"", b"PK\x03\x04" + bytes(50), b"hello", bytes(100), b"\x80\x04.", b"\x80\x04N0."):
        refused(tmp_path, content)
    refused(tmp_path, [1, 2], "list")
    refused(tmp_path, {"fid": {"mu": 1}}, "no network", "fid")
    refused(tmp_path, {"ema": None, "optimizer_state": {}}, "no network")
    later = network(tensor())
    later["ema"].parts[1][0]["version"] = 7
    refused(tmp_path, later, "version 7", "allowed is 6")
    for path in (tmp_path / "absent.pkl", tmp_path):
        with pytest.raises(UserError, match=r"cannot be read .*check the path"):
            read_nvidia_pickle(path)


@pytest.mark.parametrize("part", range(40))
def test_truncated(tmp_path: Path, part: int) -> None:
    raw = (GOLDEN / "snapshot-guide.pkl").read_bytes()
    refused(tmp_path, raw[: len(raw) * part // 40 + part % 7], "not a complete snapshot pickle (byte ")


@pytest.mark.parametrize("seed", range(6))
def test_damaged(tmp_path: Path, seed: int) -> None:
    """Random bytes anywhere in a small snapshot, and in the front of a real one: it reads, or it is a UserError."""
    random = np.random.default_rng(seed)
    canary = tmp_path / "ran"
    top = network(parameter(tensor()), encoder=persistent("VAE", {"raw_mean": HALVES}, f"open({str(canary)!r}, 'w')"))
    original = dumps(top) if seed < 5 else (GOLDEN / "snapshot-guide.pkl").read_bytes()
    failures = 0
    for _ in range(60):
        raw = bytearray(original)
        for position in random.integers(2, min(len(raw), 6000), random.integers(1, 4)):
            raw[position] = random.integers(256)
        try:
            read(tmp_path, bytes(raw))
        except UserError:
            failures += 1
    assert failures > 10 and not canary.exists()
