"""Command lines. Parsing needs no torch, so `--help` and every wrong option answer at once; work is imported after it."""

import difflib
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter

from edm2lite import __version__
from edm2lite.commands import DATA, EVALUATE, SAMPLE, SNAPSHOT, TOY2D, TRAIN, Command
from edm2lite.config import MetricsConfig, SampleConfig
from edm2lite.errors import UserError, unknown_name

_WITH_PRESETS = (SampleConfig, MetricsConfig)


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


def _presets(argv: Sequence[str]) -> list[str]:
    """Names that `--preset` gives."""
    return [b for a, b in pairwise(argv) if a == "--preset"] + [
        a.removeprefix("--preset=") for a in argv if a.startswith("--preset=")
    ]


def _with_preset(argv: Sequence[str], command: Command) -> list[str]:
    """The options, after those of the file that `--preset NAME` names, so that they override it.

    A command other than `sample` takes from the file what it has a use for: the pair, the sampler, the seeds.

    Raises:
        UserError: If there is no such preset; lists those of similar names.
    """
    named = _presets(argv)
    if not named:
        return list(argv)
    if len(named) > 1:
        raise UserError(f"two presets: {named[0]} and {named[1]}; leave one of them out")
    if named[0] not in (names := pairs()):
        raise unknown_name("preset", named[0], difflib.get_close_matches(named[0], names, 8, 0.7) or names)
    path = f"configs/pairs/{named[0]}.yaml"
    if command.config is SampleConfig:
        return ["-c", path, *argv]
    settings = yaml.safe_load(Path(_installed(path)).read_text())
    known = {field.name for field in fields(command.config)}
    return [*(f"--{name}={json.dumps(value)}" for name, value in settings.items() if name in known), *argv]


def parse(name: str, command: Command, argv: Sequence[str]) -> Any:
    """The configuration of one command.

    Raises:
        UserError: For anything that the person at the keyboard can mend.
    """
    parser = build_parser(name, command)
    try:
        argv = _with_preset(argv, command) if command.config in _WITH_PRESETS else argv
        namespace = parser.parse_args([_installed(argument) for argument in argv])
        namespace.pop("config", None)
        cfg = command.config(**vars(parser.instantiate(namespace)))
    except (ArgumentError, UnicodeDecodeError) as e:
        raise UserError(_plainly(str(e))) from e
    if isinstance(cfg, _WITH_PRESETS) and cfg.preset is not None and not _presets(argv):
        raise UserError(f"preset {cfg.preset} stands in a file; name it on the command line: --preset {cfg.preset}")
    return cfg


def run(name: str, command: Command, argv: Sequence[str]) -> int:
    """Parse and run one command; returns the exit status."""
    return command.run(parse(name, command, argv)) or 0


def main(commands: dict[str, Command], prog: str, argv: Sequence[str] | None = None, groups: Iterable[str] = ()) -> int:
    """Entry point of a script with one or several commands; returns the exit status. Help names other groups, too."""
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        if len(commands) == 1:
            ((name, command),) = commands.items()
            return run(prog, command, argv)
        elif not argv or argv[0] in ("-h", "--help"):
            print(f"usage: {prog} {{{','.join(commands)}}} [--help] [options]\n")
            for name, command in commands.items():
                print(f"  {name:9} {(command.config.__doc__ or '').strip().splitlines()[0]}")
            for group in groups:
                print(f"  {group:9} More commands: {prog} {group} --help")
        elif argv[0] == "--version":
            print(__version__)
        elif argv[0] not in commands:
            raise unknown_name("command", argv[0], [*commands, *groups])
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
    groups = {"data": DATA, "snapshot": SNAPSHOT, "toy2d": TOY2D}
    if argv and argv[0] in groups:
        return main(groups[argv[0]], f"edm2lite {argv[0]}", argv[1:])
    return main(TRAIN | SAMPLE | EVALUATE, "edm2lite", argv[1:] if argv[:1] == ["evaluate"] else argv, groups)
