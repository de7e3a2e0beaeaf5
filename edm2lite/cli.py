"""Command lines. Parsing needs no torch, so `--help` and every wrong option answer at once; work is imported after it."""

import difflib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter

from edm2lite import __version__
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
    TableConfig,
    TrainConfig,
)
from edm2lite.config.importing import ImportConfig
from edm2lite.errors import UserError, unknown_name


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
    from edm2lite.interrupt import Interrupt
    from edm2lite.training.rundir import finished, preflight

    with Interrupt() as interrupt:
        preflight(cfg)
        if finished(cfg):
            return 0
        from edm2lite.training.fit import fit
        from edm2lite.training.together import part

        status = fit(cfg, interrupt)
        part()
        return status


def _sample(cfg: SampleConfig) -> int | None:
    from edm2lite.sampling.preflight import preflight

    preflight(cfg.main, cfg.guide, cfg.guidance, cfg.seeds, cfg.shard, cfg.models)
    from edm2lite.sampling.launch import check_devices, launch, same_command
    from edm2lite.sampling.look import check_look
    from edm2lite.sampling.outdir import check_outdir

    check_outdir(cfg.outdir)
    check_look(cfg)
    check_devices(cfg)
    if cfg.devices > 1:
        return launch(same_command(), cfg.devices)
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


def _ref(cfg: RefConfig) -> None:
    from edm2lite.data.datasets import check_dataset

    check_dataset(cfg.data)
    from edm2lite.evaluation.metrics import compute_reference

    compute_reference(cfg)


def _metrics(cfg: MetricsConfig) -> None:
    from edm2lite.sampling.preflight import check_reference_exists, preflight

    check_reference_exists(cfg.ref)
    if cfg.main.path is not None:
        preflight(cfg.main, cfg.guide, cfg.guidance, cfg.seeds)
    from edm2lite.evaluation.metrics import compute_metrics

    compute_metrics(cfg)


def _table(cfg: TableConfig) -> None:
    from edm2lite.sampling.preflight import preflight_table

    preflight_table(cfg)
    from edm2lite.evaluation.tables import compute_row, compute_table

    if cfg.only_row is None:
        compute_table(cfg)
    else:
        compute_row(cfg)


def _report(cfg: ReportConfig) -> None:
    from edm2lite.evaluation.results import read_tables

    read_tables(cfg.tables)
    from edm2lite.evaluation.report import write_report

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
    "ref": Command(RefConfig, _ref, "example:\n  python evaluate.py ref --data.name digits --out runs/ref-digits.npz"),
    "metrics": Command(
        MetricsConfig,
        _metrics,
        """examples:
  python evaluate.py metrics --ref runs/ref-digits.npz --images out
  python evaluate.py metrics --ref runs/ref-digits.npz --main.path runs/digits/main --seeds 0-4999""",
    ),
    "table": Command(TableConfig, _table, "example:\n  python evaluate.py table -c configs/tables/digits.yaml"),
    "report": Command(
        ReportConfig,
        _report,
        "example:\n  python evaluate.py report --tables '[runs/demo/digits, runs/demo/patches]' --out report.html",
    ),
}


class _Parser(ArgumentParser):
    """One `error:` line instead of the usage block, with the option that was probably meant."""

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        raise UserError(_plainly(message) + self._hint(message))

    def _hint(self, message: str) -> str:
        wrong = re.search(r"(?:unrecognized arguments: --|does not accept option ')([\w.]+)", message)
        if not wrong:
            return "" if "--help" in message else "; see --help for the options"
        options = [option[2:] for option in self._option_string_actions if option.startswith("--")]
        close = difflib.get_close_matches(wrong[1], options, 1)
        if not close:
            ends = {option.split(".")[-1] for option in options}
            close = difflib.get_close_matches(wrong[1].split(".")[-1], ends, 1)
            close = sorted(option for option in options if option.split(".")[-1] in close)
        return f"; did you mean {' or '.join(close)}?" if close else "; see --help for the options"


def _plainly(message: str) -> str:
    """A parser's message on one line, without Python's type names."""
    text = " ".join(str(message).split())
    text = re.sub(
        r"Does not validate against any of the Union subtypes.*?Not of type \w+: (.*?not a number of images).*",
        r"\1",
        text,
    )
    return re.sub(r"<class '(?:[\w.]*\.)?(\w+)'>", r"\1", text)


class _Formatter(DefaultHelpFormatter):
    """Keeps the line breaks of the examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "".join(indent + line for line in text.splitlines(keepends=True))


def build_parser(name: str, command: Command) -> ArgumentParser:
    """Parser of one command: `-c FILE` and one option for every field of its configuration."""
    doc = (command.config.__doc__ or "").split("Attributes:")[0].strip()
    parser = _Parser(
        prog=name,
        usage=f"{name} [-c CONFIG] [--OPTION VALUE ...]",
        description=doc,
        epilog=command.examples,
        formatter_class=_Formatter,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_argument("-c", "--config", action="config", help="YAML file with any of the options below; may repeat.")
    parser.add_class_arguments(command.config, as_group=False)
    return parser


def _installed(argument: str) -> str:
    """A configuration that comes with the package (or its checkout), for `configs/...` not below the working directory."""
    if argument.startswith("configs/") and not Path(argument).exists():
        for root in Path(__file__).parents[:2]:
            if (root / argument).is_file():
                return str(root / argument)
    return argument


def pairs() -> list[str]:
    """Names of the presets of `sample.py`: configs/pairs/NAME.yaml, those here and those that come with the package."""
    return sorted({p.stem for root in (Path(), *Path(__file__).parents[:2]) for p in root.glob("configs/pairs/*.yaml")})


def _with_preset(argv: Sequence[str]) -> list[str]:
    """The options, after those of the file that `--preset NAME` names, so that they override it.

    Raises:
        UserError: If there is no such preset; lists those of similar names.
    """
    named = [b for a, b in pairwise(argv) if a == "--preset"]
    named += [a.removeprefix("--preset=") for a in argv if a.startswith("--preset=")]
    if not named:
        return list(argv)
    if len(named) > 1:
        raise UserError(f"two presets: {named[0]} and {named[1]}; leave one of them out")
    if named[0] not in (names := pairs()):
        raise unknown_name("preset", named[0], difflib.get_close_matches(named[0], names, 8, 0.7) or names)
    return ["-c", f"configs/pairs/{named[0]}.yaml", *argv]


def parse(name: str, command: Command, argv: Sequence[str]) -> Any:
    """The configuration of one command.

    Raises:
        UserError: For anything that the person at the keyboard can mend.
    """
    parser = build_parser(name, command)
    try:
        argv = _with_preset(argv) if command.config is SampleConfig else argv
        namespace = parser.parse_args([_installed(argument) for argument in argv])
        namespace.pop("config", None)
        return command.config(**vars(parser.instantiate(namespace)))
    except (ArgumentError, UnicodeDecodeError) as e:
        raise UserError(_plainly(str(e))) from e


def run(name: str, command: Command, argv: Sequence[str]) -> int:
    """Parse and run one command; returns the exit status."""
    return command.run(parse(name, command, argv)) or 0


def main(commands: dict[str, Command], prog: str, argv: Sequence[str] | None = None) -> int:
    """Entry point of a script with one or several commands; returns the exit status."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if len(commands) == 1:
            ((name, command),) = commands.items()
            return run(prog, command, argv)
        elif not argv or argv[0] in ("-h", "--help"):
            print(f"usage: {prog} {{{','.join(commands)}}} [--help] [options]\n")
            for name, command in commands.items():
                print(f"  {name:9} {(command.config.__doc__ or '').strip().splitlines()[0]}")
        elif argv[0] == "--version":
            print(__version__)
        elif argv[0] not in commands:
            raise unknown_name("command", argv[0], commands)
        else:
            return run(f"{prog} {argv[0]}", commands[argv[0]], argv[1:])
    except UserError as e:
        print(f"error: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"error: {e.filename or 'a file'}: {e.strerror or e}; check path, permissions and space", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; to go on, run the same command", file=sys.stderr)
        return 130
    return 0


def entry() -> int:
    """The installed console command: `edm2lite data check`, `edm2lite ref` and, like the script, `edm2lite evaluate ref`."""
    argv = sys.argv[1:]
    if argv[:1] == ["data"]:
        return main(DATA, "edm2lite data", argv[1:])
    if argv[:1] == ["snapshot"]:
        return main(SNAPSHOT, "edm2lite snapshot", argv[1:])
    return main(TRAIN | SAMPLE | EVALUATE, "edm2lite", argv[1:] if argv[:1] == ["evaluate"] else argv)
