"""What each command is: its configuration, what it does, its examples. Work is imported when a command runs, not before."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edm2lite.config import (
    CheckConfig,
    ConvertConfig,
    EncodeConfig,
    ExportConfig,
    InfoConfig,
    MetricsConfig,
    PushConfig,
    RefConfig,
    ReportConfig,
    SampleConfig,
    SweepConfig,
    TableConfig,
    Toy2dMeasureConfig,
    Toy2dPlotConfig,
    Toy2dTrainConfig,
    TrainConfig,
)
from edm2lite.config.importing import ImportConfig


@dataclass(frozen=True)
class Command:
    """A subcommand: its configuration, what it does (it may return an exit status), and the examples that end its help."""

    config: type
    run: Callable[[Any], int | None]
    examples: str


def _train(cfg: TrainConfig) -> int | None:
    if cfg.estimate is not None:
        from edm2lite.training.estimate import print_estimate

        print_estimate(cfg)
        return 0
    if cfg.find_batch:
        from edm2lite.training.find_batch import find_batch

        find_batch(cfg)
        return 0
    from edm2lite.interrupt import Interrupt
    from edm2lite.training.rundir import finished, preflight

    with Interrupt() as interrupt:
        preflight(cfg)
        if finished(cfg):
            return 0
        watcher = None
        if cfg.watch.on:
            from edm2lite.evaluation.check_watch import check_watch

            check_watch(cfg.watch)
            from edm2lite.evaluation.watch import PairWatcher

            watcher = PairWatcher(cfg)
        from edm2lite.training.fit import fit

        return fit(cfg, interrupt, watcher)


def _sample(cfg: SampleConfig) -> int | None:
    from edm2lite.sampling.preflight import preflight

    preflight(cfg.main, cfg.guide, cfg.guidance, cfg.seeds, cfg.shard, cfg.models)
    from edm2lite.sampling.look import check_look
    from edm2lite.sampling.outdir import check_outdir

    check_outdir(cfg.outdir)
    check_look(cfg)
    if cfg.devices > 1:
        return _on_devices(cfg)
    from edm2lite.sampling.write import sample

    sample(cfg)
    return None


def _convert(cfg: ConvertConfig) -> None:
    from edm2lite.data.prepare.convert import convert

    convert(cfg)


def _encode(cfg: EncodeConfig) -> None:
    from edm2lite.data.prepare.encode import encode

    encode(cfg)


def _check(cfg: CheckConfig) -> None:
    from edm2lite.data.prepare.check import check

    check(cfg)


def _info(cfg: InfoConfig) -> None:
    from edm2lite.snapshots.describe import print_info

    print_info(cfg)


def _export(cfg: ExportConfig) -> None:
    from edm2lite.interop.preflight import preflight

    preflight(cfg)
    from edm2lite.interop.export import export

    export(cfg)


def _import(cfg: ImportConfig) -> None:
    from edm2lite.snapshots.importing import import_snapshots

    import_snapshots(cfg)


def _push(cfg: PushConfig) -> None:
    from edm2lite.interop.push import push

    push(cfg)


def _ref(cfg: RefConfig) -> int | None:
    from edm2lite.data.datasets import check_dataset
    from edm2lite.ranks import parse_shard
    from edm2lite.sampling.preflight import check_result

    check_result(cfg.out)
    if cfg.images is None and cfg.source is None:
        check_dataset(cfg.data)
    parse_shard(cfg.shard)
    if cfg.devices > 1:
        return _on_devices(cfg)
    from edm2lite.evaluation.measure import compute_reference

    compute_reference(cfg)
    return None


def _metrics(cfg: MetricsConfig) -> int | None:
    from edm2lite.sampling.preflight import check_reference_exists, check_result, preflight

    check_reference_exists(cfg.ref)
    check_result(cfg.out)
    if cfg.main.path is not None:
        preflight(cfg.main, cfg.guide, cfg.guidance, cfg.seeds, cfg.shard, models=cfg.models)
    if cfg.devices > 1:
        return _on_devices(cfg)
    from edm2lite.evaluation.measure import compute_metrics

    compute_metrics(cfg)
    return None


def _on_devices(cfg: SampleConfig | RefConfig | MetricsConfig | TableConfig | SweepConfig) -> int:
    """Run the same command once on each device, as ranks of one another."""
    from edm2lite.sampling.processes import check_devices, launch, same_command

    check_devices(cfg)
    return launch(same_command(), cfg.devices)


def _table(cfg: TableConfig) -> int | None:
    from edm2lite.sampling.preflight import preflight_table

    preflight_table(cfg)
    if cfg.devices > 1:
        return _on_devices(cfg)
    from edm2lite.evaluation.tables.compute import compute_row, compute_table

    if cfg.only_row is None:
        compute_table(cfg)
    else:
        compute_row(cfg)
    return None


def _sweep(cfg: SweepConfig) -> int | None:
    from edm2lite.evaluation.sweeps.preflight import preflight_sweep

    preflight_sweep(cfg)
    if cfg.devices > 1:
        from edm2lite.evaluation.sweeps.together import despite_losses

        return despite_losses(cfg, lambda: _on_devices(cfg))
    from edm2lite.evaluation.sweeps.run import run_sweep

    run_sweep(cfg)
    return None


def _toy2d_train(cfg: Toy2dTrainConfig) -> int:
    from edm2lite.toy2d.train import train

    return train(cfg)


def _toy2d_measure(cfg: Toy2dMeasureConfig) -> None:
    from edm2lite.toy2d.measure import measure

    measure(cfg)


def _toy2d_plot(cfg: Toy2dPlotConfig) -> None:
    from edm2lite.toy2d.plot import plot

    plot(cfg)


def _report(cfg: ReportConfig) -> None:
    from edm2lite.evaluation.tables.results import read_tables
    from edm2lite.sampling.preflight import check_result

    check_result(cfg.out)
    read_tables(cfg.tables)
    from edm2lite.evaluation.report.page import write_report

    write_report(cfg)


TRAIN = {
    "train": Command(
        TrainConfig,
        _train,
        """examples:
  python train.py -c configs/digits/main.yaml                       # to resume: the same command
  python train.py -c configs/digits/main.yaml --run_dir runs/small --network.model_channels 8""",
    )
}
SAMPLE = {
    "sample": Command(
        SampleConfig,
        _sample,
        """examples:
  python sample.py --main.path runs/digits/main --main.ema 0.07 --seeds 0-63 --outdir out
  python sample.py --main.path runs/digits/main --guide.path runs/digits/main --guide.nimg 75Ki \\
      --guidance.weight 1.8 --seeds 0-63 --outdir out-guided
  python sample.py --preset edm2-img512-s-autog-fid --models models --outdir out-edm2""",
    )
}
DATA = {
    "convert": Command(
        ConvertConfig,
        _convert,
        """examples:
  edm2lite data convert --source imagenet --dest datasets/imagenet64 --size 64
  edm2lite data convert --source ILSVRC2012_img_train.tar --dest datasets/imagenet512.zip --size 512""",
    ),
    "encode": Command(
        EncodeConfig,
        _encode,
        "example:\n  edm2lite data encode --source datasets/imagenet512.zip --dest datasets/imagenet512-latents",
    ),
    "check": Command(CheckConfig, _check, "example:\n  edm2lite data check --path datasets/imagenet64 --out sheet.png"),
}
SNAPSHOT = {
    "import": Command(
        ImportConfig,
        _import,
        """examples:
  edm2lite snapshot import --source edm2-img512-s-2147483-0.130.pkl --dest edm2-s.safetensors
  edm2lite snapshot import --source raw/edm2-img512-s --dest models/edm2-img512-s""",
    ),
    "info": Command(InfoConfig, _info, "example:\n  edm2lite snapshot info --path runs/digits/main"),
    "export": Command(
        ExportConfig,
        _export,
        """example:
  edm2lite snapshot export --main.path runs/digits/main --guide.path runs/digits/main --guide.nimg 75Ki \\
      --guidance.weight 1.8 --dest digits-pipeline""",
    ),
    "push": Command(PushConfig, _push, "example:\n  edm2lite snapshot push --path digits-pipeline --repo jane/digits"),
}
EVALUATE = {
    "ref": Command(
        RefConfig,
        _ref,
        """examples:
  python evaluate.py ref --data.name digits --out runs/ref-digits.npz
  python evaluate.py ref --data.path datasets/imagenet512.zip --out img512.npz --devices 8
  python evaluate.py ref --source img512.pkl --out img512.npz""",
    ),
    "metrics": Command(
        MetricsConfig,
        _metrics,
        """examples:
  python evaluate.py metrics --ref runs/ref-digits.npz --images out
  python evaluate.py metrics --ref runs/ref-digits.npz --main.path runs/digits/main --seeds 0-4999
  python evaluate.py metrics --ref img512.npz --metrics '[fid, fd_dinov2, kid, is, prdc]' --images out
  python evaluate.py metrics --ref img512.pkl --preset edm2-img512-s-autog-fid --models models \\
      --seeds 0-149999 --blocks 3 --devices 8""",
    ),
    "table": Command(TableConfig, _table, "example:\n  python evaluate.py table -c configs/tables/digits.yaml"),
    "sweep": Command(
        SweepConfig,
        _sweep,
        """examples:
  python evaluate.py sweep -c configs/sweeps/digits.yaml --devices 2    # interrupted, or on another machine: the same command
  python evaluate.py sweep -c configs/sweeps/edm2-img512-s.yaml --models models --devices 8""",
    ),
    "report": Command(
        ReportConfig,
        _report,
        "example:\n  python evaluate.py report --tables '[runs/demo/digits, runs/demo/patches]' --out report.html",
    ),
}
TOY2D = {
    "train": Command(Toy2dTrainConfig, _toy2d_train, "example:\n  edm2lite toy2d train -c configs/toy2d/main.yaml"),
    "measure": Command(
        Toy2dMeasureConfig, _toy2d_measure, "example:\n  edm2lite toy2d measure -c configs/toy2d/methods.yaml"
    ),
    "plot": Command(Toy2dPlotConfig, _toy2d_plot, "example:\n  edm2lite toy2d plot --weight 2 --outdir runs/toy2d/w2"),
}
