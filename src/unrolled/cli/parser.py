"""The argument parser; training flags are read off the config dataclasses."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from unrolled import spec
from unrolled.cli import commands

__all__ = ["Parser", "build"]

EPILOG = """examples:
  unrolled train sentences                 train on ten built-in sentences, in seconds
  unrolled train book.txt --minutes 3      train on your own text
  unrolled sample runs/book --prompt "KING" --length 400 --temperature 0.8 --seed 1
  unrolled eval runs/book other.txt --json
  unrolled probe runs/book --html probe.html   what it remembers, how its gradient fares, what is wrong
  unrolled lab sentences --quick           ten sentences through a neuron, a layer, an LSTM
  unrolled doctor                          what this machine has, and which path a call takes
"""


class Parser(argparse.ArgumentParser):
    """Prints a mistake as one line and exits with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def build() -> Parser:
    """Return the whole parser."""
    parser = Parser(
        prog="unrolled",
        description="Recurrent networks: train, sample, evaluate, look inside.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    subs = parser.add_subparsers(dest="command", metavar="COMMAND")
    _train(_command(subs, "train", "train a language model on a text", commands.train))
    _sample(_command(subs, "sample", "write text with a trained model", commands.sample))
    _eval(_command(subs, "eval", "score a text with a trained model", commands.evaluate))
    _probe(_command(subs, "probe", "measure what a network remembers, and how its gradient fares",
                    commands.probe))  # fmt: skip
    _lab(_command(subs, "lab", "measure what a lecture on recurrent networks claims and asks", commands.lab))
    _doctor(
        _command(subs, "doctor", "report versions, instruction sets, threads and backends", commands.doctor)
    )
    return parser


def _command(subs: Any, name: str, help: str, action: Callable[..., int]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subs.add_parser(
        name, help=help, description=help[0].upper() + help[1:] + ".", allow_abbrev=False
    )
    parser.set_defaults(action=action)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _train(parser: argparse.ArgumentParser) -> None:
    source = spec.setting_of(spec.DataConfig, "source")
    parser.add_argument("source", metavar="SOURCE", help=source.help)
    for cls in (spec.DataConfig, spec.TrainConfig):
        for s in spec.settings(cls):
            if s.flag is not None:
                _flag(parser, s)


def _flag(parser: argparse.ArgumentParser, s: spec.Setting) -> None:
    """Add one flag; its bounds are checked by the dataclass, which words the message.

    What is not given is not in the namespace: the dataclass has the defaults, and a resumed run its own.
    """
    assert s.flag is not None
    if s.type is bool:
        parser.add_argument(s.flag, dest=s.name, action="store_true", default=argparse.SUPPRESS, help=s.help)
        return
    shown = s.help if s.default is None else f"{s.help} [{s.default}]"
    parser.add_argument(
        s.flag,
        dest=s.name,
        default=argparse.SUPPRESS,
        type=s.type,
        metavar="|".join(s.choices) or {int: "N", float: "X", str: "TEXT"}[s.type],
        **({} if s.bare is None else {"nargs": "?", "const": s.bare}),
        help=shown.replace("%", "%%"),
    )


def _lab(parser: argparse.ArgumentParser) -> None:
    experiment = spec.setting_of(spec.LabConfig, "experiment")
    parser.add_argument(
        "experiment",
        nargs="?",
        metavar="EXPERIMENT",
        default=argparse.SUPPRESS,
        help=f"{experiment.help} [{experiment.default}]",
    )
    for s in spec.settings(spec.LabConfig):
        if s.flag is not None:
            _flag(parser, s)


def _sample(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run directory, a checkpoint or a model directory")
    parser.add_argument(
        "--prompt", default="", metavar="TEXT", help="text that comes before, printed first []"
    )
    parser.add_argument("--length", default=400, type=int, metavar="N", help="symbols to draw [400]")
    parser.add_argument("--temperature", default=0.8, type=float, metavar="X",
                        help="0 takes the likeliest symbol, 1 draws as the model says [0.8]")  # fmt: skip
    parser.add_argument("--top-k", default=None, type=int, metavar="N", help="draw among the N likeliest")
    parser.add_argument("--top-p", default=None, type=float, metavar="X",
                        help="draw among the likeliest that together have probability X")  # fmt: skip
    parser.add_argument(
        "--seed", default=None, type=int, metavar="N", help="the same seed gives the same text"
    )


def _eval(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run directory, a checkpoint or a model directory")
    parser.add_argument("source", metavar="SOURCE", help="a text to score, as for train")
    parser.add_argument("--cold", default=None, type=int, metavar="N",
                        help="tokens of windows scored from a zero state; default 256")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON")


def _probe(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", metavar="RUN", help="a run directory, a checkpoint or a model directory")
    parser.add_argument("source", metavar="FILE", nargs="?", default=None,
                        help="a text, as for train; default the part that the run held out")  # fmt: skip
    parser.add_argument("--lags", default=None, type=int, metavar="N",
                        help="steps to look back; default 64, fewer where rows are short")  # fmt: skip
    parser.add_argument("--known-lag", default=None, type=int, metavar="N",
                        help="steps between an input and the prediction that needs it, where you know them: "
                        "a network that does not reach so far is a finding")  # fmt: skip
    parser.add_argument("--html", default=None, metavar="REPORT.html",
                        help="also write a page with every figure, that opens offline")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print everything but the trajectories as JSON")


def _doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON")
