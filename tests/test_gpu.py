"""What a CUDA device must give: run with pytest -m gpu."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from edm2lite import guided, load_denoiser, sample_heun, seeded_noise
from edm2lite.config import (
    DataConfig,
    GuidanceConfig,
    ModelRef,
    NetworkConfig,
    SamplerConfig,
    TrainConfig,
    TrainerConfig,
    TrainingConfig,
)
from edm2lite.data.host import to_host
from edm2lite.network.denoiser import Denoiser
from edm2lite.network.unet import Block
from edm2lite.sampling.pair import Pair, load_pair
from edm2lite.sampling.solve import solve
from edm2lite.training.budget import Budget, data_shape
from edm2lite.training.devices import find_device
from edm2lite.training.loss import weighted_loss
from edm2lite.training.power_ema import PowerEMA
from tests.conftest import GOLDEN, TRAIN_OPTIONS, run_script, tiny_denoiser
from tests.training.runs import final_state, largest_difference
from tests.training.test_strategies import config

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
    pytest.mark.filterwarnings("ignore"),  # torch has some of its own: of its empty first CUDA graph, of the debug mode
]


@pytest.fixture(autouse=True)
def exact_float32():
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 5e-3), (torch.bfloat16, 4e-2)], ids=str
)
@pytest.mark.parametrize("name", ["cond", "uncond"])
def test_denoiser_matches_the_published_numbers(name, dtype, tolerance, published_net, golden):
    net, g = published_net(name).cuda(), {k: v.cuda() for k, v in golden("network").items()}
    net.compute_dtype = dtype
    labels = g[f"{name}/labels"].argmax(1) if f"{name}/labels" in g else None
    expected = g[f"{name}/denoised"]
    out = net(g[f"{name}/x"], g[f"{name}/sigma"], labels)
    assert out.dtype == torch.float32
    assert (out - expected).abs().max() < tolerance * expected.abs().max()


def test_compiles_as_one_graph(published_net, golden):
    net, g = published_net("cond").cuda(), {k: v.cuda() for k, v in golden("network").items()}
    arguments = (g["cond/x"], g["cond/sigma"], g["cond/labels"].argmax(1))
    torch.testing.assert_close(torch.compile(net, fullgraph=True)(*arguments), net(*arguments), rtol=1e-4, atol=1e-4)


def test_guided_sampling_matches_the_published_images(golden):
    main, guide = (load_denoiser(GOLDEN / f"snapshot-{name}.pkl", device="cuda") for name in ("cond", "guide"))
    g = golden("sampler")
    noise, labels = seeded_noise([0, 1, 7, 2**32 + 1], (3, 16, 16), 10, device="cuda")
    assert torch.equal(noise.cpu(), g["noise"])
    out = sample_heun(guided(main, guide, 1.4), noise, labels=labels, num_steps=18, dtype=torch.float64)
    torch.testing.assert_close(out.cpu(), golden("snapshot_expected")["heun18_f64/w=1.4"], rtol=0, atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_places_in_a_batch_give_the_same_bits(precision):
    main = ModelRef(path=str(GOLDEN / "snapshot-cond.pkl"), dropout=0.1, input_noise=0.1)
    guide = ModelRef(path=str(GOLDEN / "snapshot-guide.pkl"), dropout=0.2)
    pair = load_pair(main, guide, GuidanceConfig(weight=1.5), device="cuda", precision=precision)
    run = lambda seeds: next(pair.sample(seeds, SamplerConfig(num_steps=5), 64)).images  # noqa: E731
    seeds = list(range(64))
    assert torch.equal(run(seeds), run(seeds[::-1]).flip(0))


def guided_pair(precision: str, compile: bool) -> Pair:
    main, guide = (ModelRef(path=str(GOLDEN / f"snapshot-{name}.pkl")) for name in ("cond", "guide"))
    return load_pair(main, guide, GuidanceConfig(weight=1.5), device="cuda", precision=precision, compile=compile)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-3), ("fp16", 0.05), ("bf16", 0.3)])
@pytest.mark.parametrize("solver", ["heun", "dpmpp_2m"])  # the second keeps a result while a graph overwrites its own
def test_compiled_sampling_gives_the_images_of_eager(solver, precision, tolerance):
    sampler, seeds = SamplerConfig(solver=solver, num_steps=8), list(range(16))
    eager, compiled, again = (
        next(guided_pair(precision, compile).sample(seeds, sampler, 16)).images for compile in (False, True, True)
    )
    assert torch.equal(compiled, again)
    assert (compiled - eager).abs().max() < tolerance * eager.abs().max()


def test_sampling_does_not_wait_for_the_device():
    pair, sampler, seeds = guided_pair("fp16", True), SamplerConfig(num_steps=6), [0, 1]
    noise, labels = seeded_noise(seeds, pair.shape, pair.label_dim, device="cuda")
    run = lambda: solve(sampler, pair.denoiser(seeds, sampler), noise, labels=labels)  # noqa: E731
    expected = [run() for _ in range(3)][-1]  # compiles, warms up, records
    try:
        torch.cuda.set_sync_debug_mode("error")
        images = run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.equal(images, expected)


def test_a_copy_to_the_host_is_of_the_time_when_it_was_asked_for():
    """Made behind a long queue, overwritten on the same stream, waited for in another thread."""
    x = torch.zeros(1 << 22, device="cuda")
    torch.cuda._sleep(10**8)
    x.fill_(1)
    copied = to_host(x)
    x.zero_()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(copied).result()[0].eq(1).all()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_compiled_training_has_the_losses_of_eager_and_resumes(precision, tmp_path):
    from edm2lite.training.fit import fit

    losses = {}
    for name, compile, totals in (("eager", False, [320]), ("compiled", True, [320]), ("resumed", True, [160, 320])):
        for total in totals:
            cfg = config(tmp_path / name, "one", total, compile=compile, precision=precision)
            assert fit(replace(cfg, trainer=TrainerConfig(accelerator="gpu"))) == 0
        rows = (tmp_path / name / "metrics.csv").read_text().splitlines()[1:]
        losses[name] = torch.tensor([float(row.split(",")[1]) for row in rows])
    tolerance = 1e-4 if precision == "fp32" else 2e-2
    assert len(losses["eager"]) and (losses["eager"] - losses["compiled"]).abs().max() <= tolerance
    assert (losses["resumed"] - losses["compiled"]).abs().max() <= tolerance


def test_dropout_masks_are_those_of_the_cpu():
    net = tiny_denoiser(dropout=0.3)
    x, keys = torch.randn(4, 1, 8, 8), torch.arange(4)
    cpu, gpu = net(x, 0.5, None, (0.3, keys)), net.cuda()(x.cuda(), 0.5, None, (0.3, keys.cuda()))
    torch.testing.assert_close(gpu.cpu(), cpu, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_training_runs_and_resumes(precision, tmp_path):
    options = [o for o in TRAIN_OPTIONS if "accelerator" not in o] + [f"--training.precision={precision}"]
    options += ["--training.snapshot_nimg=160", "--training.checkpoint_nimg=160", f"--run_dir={tmp_path}"]
    for total in (160, 320):
        done = run_script("train.py", "--trainer.accelerator=gpu", *options, f"--training.total_nimg={total}")
        assert done.returncode == 0, done.stderr
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert [int(row.split(",")[0]) for row in rows[1:]][-1] == 320


def test_a_training_step_waits_for_nothing(tmp_path, monkeypatch):
    from edm2lite.training.fit import fit
    from edm2lite.training.module import EDM2Module

    step, seen = EDM2Module.training_step, []

    def strict(module, *args):
        try:
            torch.cuda.set_sync_debug_mode("error" if module.step >= 3 else "default")  # kernels are loaded by then
            return step(module, *args)
        finally:
            torch.cuda.set_sync_debug_mode("default")
            seen.append(module.step)

    monkeypatch.setattr(EDM2Module, "training_step", strict)
    for repair in ("error", "zero"):
        cfg = config(tmp_path / repair, "one", 160, nonfinite_gradients=repair)
        assert fit(replace(cfg, trainer=TrainerConfig(accelerator="gpu"))) == 0
    assert len(seen) == 20


def test_a_sharded_run_equals_a_plain_one(tmp_path):
    """FSDP2 with micro-batches and recomputed activations over all devices (2, 4, 8 ...), against one."""
    devices = min(16, 1 << (torch.cuda.device_count().bit_length() - 1))
    sharded = [f"--trainer.devices={devices}", "--trainer.strategy=fsdp", "--training.batch_per_device=1"]
    options = [o for o in TRAIN_OPTIONS if "accelerator" not in o] + ["--training.snapshot_nimg=160"]
    options += ["--trainer.accelerator=gpu", "--training.total_nimg=320", "--training.checkpoint_nimg=160"]
    for name, more in (("fsdp", [*sharded, "--training.activation_checkpointing=true"]), ("one", [])):
        done = run_script("train.py", *options, *more, f"--run_dir={tmp_path / name}")
        assert done.returncode == 0, done.stderr
    ours, alone = (final_state(tmp_path / name, 320) for name in ("fsdp", "one"))
    assert largest_difference(ours, alone) <= 1e-4


@pytest.mark.parametrize("recompute", [False, True])
def test_the_estimated_memory_is_what_a_step_takes(recompute):
    """EDM2-XS on latents of ImageNet-512, 8 images in bf16: peak of two steps against `train.py --estimate`."""
    cfg = TrainConfig(
        data=DataConfig(path="imagenet512"), network=NetworkConfig(model_channels=128), trainer=TrainerConfig(devices=1),
        training=TrainingConfig(batch_size=8, precision="bf16", activation_checkpointing=recompute),
    )  # fmt: skip
    budget = Budget(cfg, data_shape(cfg.data), find_device("h100"))
    torch.cuda.reset_peak_memory_stats()
    net = Denoiser(64, 4, 1000, cfg.network, torch.bfloat16).cuda()
    for block in (module for module in net.modules() if isinstance(module, Block)):
        block.recompute = recompute
    ema, optimizer = PowerEMA(net, cfg.training.ema_sigma_rel), torch.optim.Adam(net.parameters())
    x, sigma, labels = torch.randn(8, 4, 64, 64).cuda(), torch.ones(8).cuda(), torch.arange(8).cuda()
    for step in (1, 2):
        weighted_loss(net, x, labels, sigma, x).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.update(8 * step, 8)
    assert 0.75 < torch.cuda.max_memory_allocated() / sum(budget.memory(budget.setup)) < 1.25


@pytest.mark.parametrize("name", ["inception", "dinov2"])
def test_detectors_and_distances_agree_with_the_cpu(name):
    """Random weights; features in float32 without TF32, the Frechet distance of them in float64."""
    from edm2lite.evaluation.detectors.dinov2 import DINOv2
    from edm2lite.evaluation.detectors.inception import Inception
    from edm2lite.evaluation.metrics.frechet import FrechetReference
    from edm2lite.evaluation.metrics.moments import Moments
    from tests.evaluation.detectors.random_weights import random_images, randomise

    detector = (Inception() if name == "inception" else DINOv2(depth=2)).eval().requires_grad_(False)
    randomise(detector)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # must not be used
    images = random_images(24, 3, 64, 64)
    on_cpu, on_gpu = detector(images), detector.cuda()(images.cuda()).cpu()
    assert (on_gpu - on_cpu).abs().max() <= 1e-4 * on_cpu.abs().max()
    distances = []
    for device in ("cpu", "cuda"):
        moments = Moments(detector.dim)
        moments.update(torch.randn(3000, detector.dim, generator=torch.Generator().manual_seed(0)))
        reference = FrechetReference(moments.mu.to(device), moments.sigma.to(device))
        distances.append(reference.distance((moments.mu + 0.1).to(device), moments.sigma.to(device)))
    assert distances[0] == pytest.approx(distances[1], rel=1e-9)
