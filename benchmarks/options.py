"""Options of the benchmarks."""

import argparse
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"


def parser(doc: str | None, **defaults: Any) -> argparse.ArgumentParser:
    """The options of every benchmark; `defaults` are its own values of them."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu, cuda, cuda:1")
    made.add_argument("--repeats", type=int, default=5, help="timed turns")
    made.add_argument("--seconds", type=float, default=1e9, help="begin no further measurement after so long")
    made.add_argument("--save", action="store_true", help="write NAME_DEVICE_DATE.json and .md to --out")
    made.add_argument("--out", default=str(RESULTS), help="folder of results")
    made.add_argument("--tag", default="", help="appended to NAME")
    made.set_defaults(**defaults)
    return made


def listed(text: str) -> list[str]:
    """An option's values between commas."""
    return [part for part in text.split(",") if part]


def integers(text: str) -> list[int]:
    return [int(part) for part in listed(text)]
