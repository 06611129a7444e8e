"""The argument parser: flags, bounds and help texts are those of the config dataclasses."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import MISSING, replace
from functools import partial
from typing import Any, NoReturn

from unrolled import spec
from unrolled.cli import commands
from unrolled.cli.flags import data_flags, groups_of_training, title_of
from unrolled.cli.ranks import speaker

__all__ = ["Parser", "build", "flags_of"]

EPILOG = """examples:
  unrolled train sentences                 train on ten built-in sentences, in seconds
  unrolled train book.txt --minutes 3      train on your own text
  unrolled train gestures.csv --label activity --group subject    a class for each sequence
  unrolled train names/ --label folder --dry-run   what would be done, and how long it takes
  unrolled train pump.csv --target rul --id unit   a number for each sequence
  unrolled train train.conll --tags 2              a tag for each word
  unrolled train load.csv --horizon 48 --intervals 80,95    a forecast, with intervals
  unrolled predict runs/gestures new.csv --out p.csv
  unrolled sample runs/book --prompt "KING" --length 400 --temperature 0.8 --seed 1
  unrolled eval runs/book other.txt --json
  unrolled stream runs/book < lines.txt    an answer to every line, as it comes
  unrolled quantize runs/book --weights int8   a quarter of the size, and what it costs
  unrolled export runs/gestures --to onnx --out gestures.onnx   for ONNX Runtime, checked there
  unrolled probe runs/book --html probe.html   what it remembers, how its gradients flow, what is wrong
  unrolled sweep book.txt --lr 1e-3,3e-3 --hidden 128,256   a run for each combination, and which is best
  unrolled lab sentences --quick           ten sentences through a neuron, a layer and an LSTM
  unrolled doctor                          what this machine has, and what `auto` takes on it
"""
EXAMPLES = {
    "sweep": """\
The flags of `unrolled train` are taken, except --run, --overwrite, --resume and --seeds. A flag with one
value holds for every trial. A setting varies if its flag has several values, separated by commas, or a range
of numbers (1e-4..1e-2); a flag that names a column or a file is given once per value instead, and one that is
on or off takes yes,no. Lists give a trial for every combination; with a range, settings are drawn at random.

examples:
  unrolled sweep book.txt --lr 1e-3,3e-3 --hidden 128,256 --minutes 2
  unrolled sweep gestures.csv --label activity --lr 1e-4..1e-2 --dropout 0..0.5 --trials 20 --workers 2
  unrolled sweep load.csv --horizon 24 --cell gru,lstm --total-minutes 60
""",
    "train": """examples:
  unrolled train book.txt --minutes 3
  unrolled train gestures.csv --label activity --group subject --dry-run
  unrolled train pump.csv --target rul --id unit --causal
  unrolled train train.conll --tags 2 --test test.conll
  unrolled train load.csv --horizon 24 --known temperature --intervals 80,95
""",
    "predict": """examples:
  unrolled predict runs/gestures new.csv                       print predictions as CSV
  unrolled predict runs/gestures new.csv --out answers.parquet
""",
    "eval": """examples:
  unrolled eval runs/gestures                 print the scores that the run wrote
  unrolled eval runs/gestures test.csv --json
  unrolled eval runs/book other.txt
""",
    "stream": """examples:
  unrolled stream runs/book < lines.txt       the likeliest next symbols after each line
  unrolled stream runs/pump < steps.jsonl     a prediction after each step, such as {"x": [0.5, 1.2]}
""",
    "export": """examples:
  unrolled export runs/gestures --to onnx --out gestures.onnx --check new.csv
  unrolled export runs/pump --to onnx-step --out pump.onnx       one step, its state an input and an output
  unrolled export runs/pump --to c --out pump/ --weights int8    C99, for a microcontroller
""",
    "probe": """examples:
  unrolled probe runs/gestures                print findings and key numbers
  unrolled probe runs/gestures new.csv --html probe.html
""",
}
JSON_LINES = (
    'lines and answers are JSON objects: {"text": "…"} or {"ids": […]}, with {"reset": true} to start '
    'from zero before it, {"save": true} to write --state after it; for other models than those of text each '
    'line is a step: JSON objects {"x": […]} or {"column": value, …}, null for a missing one, or CSV after a '
    "header"
)
METAVARS = {int: "N", float: "X", str: "TEXT"}
NUMBERS = {int: "a whole number", float: "a number"}
# argparse's words → ours; what matches none loses "argument " and stays
WORDS = (
    (r"the following arguments are required: (\S+).*", r"\1: expected a value, got none"),
    (r"argument (\S+): expected one argument", r"\1: expected a value, got none; one that begins with - "
     r"is written \1=VALUE"),
    (r"argument (\S+): ignored explicit argument (.*)", r"\1: expected no value, got \2"),
    (r"argument ", ""),
)  # fmt: skip


class Parser(argparse.ArgumentParser):
    """Prints a mistake as one line, with the nearest name where one was mistyped, and exits with 2."""

    refused: tuple[str, ...] = ()  # names of settings that are known, to be refused with a reason

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"argument COMMAND: invalid choice: '(.*)' \(choose from", message)
        if unknown:
            known = {name: name for name in commands_of(self)}
            message = (
                f"COMMAND: expected one of {', '.join(known)}, got {unknown[1]!r}{_near(unknown[1], known)}"
            )
        for pattern, words in WORDS:
            message = re.sub(f"^{pattern}", words, message)
        who = speaker()
        self.exit(2, None if who is None else f"{self.prog}: {who}{message} (see {self.prog} --help)\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, extra = self.parse_known_args(args, namespace)
        if extra:
            command = commands_of(self).get(found.command or "", self)
            command.error(_unexpected(command, extra[0], getattr(found, "configs", ())))
        return found


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
    parser.set_defaults(action=partial(commands.help, parser), configs=(), debug=False)
    subs = parser.add_subparsers(dest="command", metavar="COMMAND")
    add = partial(_command, subs)
    _train_command(subs)
    _sweep_command(subs)
    add("sample", "write text with a trained model", commands.sample, spec.SampleConfig)
    add("predict", "predict classes, numbers, tags or forecasts", commands.predict, spec.PredictConfig,
        json="print JSON lines; with --out: how many answers there are")  # fmt: skip
    add("eval", "score a file with a trained model", commands.evaluate, spec.EvalConfig, json="print JSON")
    add("stream", "answer lines of standard input, one by one, with a trained model", commands.stream,
        spec.StreamConfig, json=JSON_LINES)  # fmt: skip
    add("quantize", "make a trained model's weights smaller, and measure what that costs", commands.quantize,
        spec.QuantizeConfig, json="print JSON")  # fmt: skip
    add("export", "write a trained model in another format, and compare it with ours there", commands.export,
        spec.ExportConfig, json="print JSON")  # fmt: skip
    add("probe", "measure what a network remembers and depends on, and how gradients flow", commands.probe,
        spec.ProbeConfig, json="print everything but the trajectories as JSON")  # fmt: skip
    add("lab", "check a lecture's claims on recurrent networks by measurement", commands.lab, spec.LabConfig)
    what = "report versions, instruction sets, threads and backends"
    add("doctor", what, commands.doctor, json="print JSON")
    return parser


def commands_of(parser: argparse.ArgumentParser) -> dict[str, Parser]:
    """Return the parsers of the commands by name; none for a command's own parser."""
    return next((dict(a.choices) for a in parser._actions if isinstance(a.choices, dict)), {})


def flags_of(configs: Sequence[type]) -> dict[str, str]:
    """Return the flag of every field of some config classes that the command line can set."""
    return {s.name: s.flag for cls in configs for s in spec.settings(cls) if s.flag is not None}


def _command(
    subs: Any, name: str, help: str, action: Callable[..., int], *configs: type, json: str = ""
) -> None:
    parser = _subparser(subs, name, help)
    parser.set_defaults(action=action, configs=configs)
    for cls in configs:
        for s in spec.settings(cls):
            _add(parser, s, required=s.default is MISSING)
    if json:
        parser.add_argument("--json", action="store_true", help=json)
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _subparser(subs: Any, name: str, help: str) -> Parser:
    """Return the parser of a command, with its description and examples."""
    parser: Parser = subs.add_parser(
        name,
        help=help,
        description=help[0].upper() + help[1:] + ".",
        epilog=EXAMPLES.get(name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def _train_command(subs: Any) -> None:
    """Add `train`, whose flags are those of every task's data, grouped by task."""
    what = "train a network on a text, or on sequences of your own"
    parser = _subparser(subs, "train", what)
    data = data_flags()
    naming = [f"{each.setting.flag} {each.setting.metavar}" for each in data if each.names_task]
    parser.usage = f"%(prog)s SOURCE\n       [{' | '.join(naming)}]\n       [more flags]"
    kinds = dict.fromkeys(kind.data for flag in data for kind in flag.kinds)
    parser.set_defaults(action=commands.train, configs=(*kinds, spec.TrainConfig, spec.TrainCall))
    groups: dict[str, Any] = {}
    for flag in data:
        if not str(flag.setting.flag).startswith("-"):
            _add(parser, flag.setting)
            continue
        title = title_of(flag)
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        _add(groups[title], flag.setting, bare=flag.may_be_bare)
    for title, settings in groups_of_training().items():
        group = parser.add_argument_group(title)
        for each in settings:
            _add(group, each)
    group = parser.add_argument_group("instead of one run")
    for each in spec.settings(spec.TrainCall):
        _add(group, each)
    parser.add_argument("--json", action="store_true", help="print what is found as JSON")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


def _sweep_command(subs: Any) -> None:
    """Add `sweep`, which takes the flags of `train` with several values; its help names its own alone."""
    what = "train a network with each of many settings, and say which is best; takes the flags of train"
    parser = _subparser(subs, "sweep", what)
    parser.usage = "%(prog)s SOURCE --FLAG VALUE,VALUE [--FLAG LOW..HIGH] [more flags, also those of train]"
    data = data_flags()
    kinds = dict.fromkeys(kind.data for flag in data for kind in flag.kinds)
    parser.refused = spec.OF_THE_SWEEP
    configs = (*kinds, spec.TrainConfig, spec.SweepConfig, spec.SweepCall)
    parser.set_defaults(action=commands.sweep, configs=configs)
    every = [(each.setting, each.may_be_bare) for each in data]
    every += [(each, False) for each in spec.settings(spec.TrainConfig)]
    for s, bare in every:
        if s.flag is None or not s.flag.startswith("-"):
            what = "what each trial is trained on, as `unrolled train` takes it; not standard input"
            _add(parser, replace(s, help=what))
            continue
        told: dict[str, Any] = {"dest": s.name, "default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
        if s.type is bool or bare or s.bare is not None:
            const = True if s.type is bool else s.bare
            parser.add_argument(s.flag, action=_Append, nargs="?", const=const, **told)
        else:
            parser.add_argument(s.flag, action=_Append, **told)
        if s.negative:
            parser.add_argument(
                s.flag.replace("--", "--no-", 1), action=_Append, nargs=0, const=False, **told
            )
    for s in (*spec.settings(spec.SweepConfig), *spec.settings(spec.SweepCall)):
        _add(parser, s)
    parser.add_argument("--json", action="store_true", help="print what is found as JSON")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")


class _Append(argparse.Action):
    """Collects what a flag is given each time; argparse's own needs a default to add to."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        word = self.const if self.nargs == 0 else values
        setattr(namespace, self.dest, [*getattr(namespace, self.dest, []), word])


def _add(parser: Any, s: spec.Setting, *, bare: bool = False, required: bool = False) -> None:
    """Add one flag; its bounds are checked by the dataclass, which words the message.

    What is not given is not in the namespace: the dataclass has the defaults, and a resumed run its own.
    `bare`: without a value it is None. `required`: the command needs this flag.
    """
    if s.flag is None:
        return
    told: dict[str, Any] = {"default": argparse.SUPPRESS, "help": _help(s)}
    if s.type is bool:
        action = argparse.BooleanOptionalAction if s.negative else "store_true"
        parser.add_argument(s.flag, dest=s.name, action=action, **told)
        return
    told["type"] = _reader(s)
    if not s.flag.startswith("-"):
        nargs = None if s.default is MISSING else "?"
        parser.add_argument(s.name, metavar=s.flag, nargs=nargs, **told)
        return
    if required:
        told["required"] = True
    told["metavar"] = s.metavar or "|".join(s.choices) or METAVARS[s.type]
    if bare or s.bare is not None:
        told |= {"nargs": "?", "const": s.bare}
    parser.add_argument(s.flag, dest=s.name, **told)
    if s.old_flag is not None:
        told["help"] = argparse.SUPPRESS
        parser.add_argument(s.old_flag, dest=s.name, action=_OldFlag, const=s.flag, **told)


class _OldFlag(argparse.Action):
    """Takes a flag by its older name, and says so."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option_string: str | None = None) -> None:
        print(f"unrolled: {option_string} is now {self.const}; the older name goes in 0.3", file=sys.stderr)
        setattr(namespace, self.dest, values)


def _help(s: spec.Setting) -> str:
    unsaid = any(s.default is each for each in (None, MISSING, False)) or s.default == ""
    default = "yes" if s.default is True else s.default
    shown = s.help if unsaid else f"{s.help} (default: {default})"
    return shown.replace("%", "%%")


def _reader(s: spec.Setting) -> Callable[[str], Any]:
    """Return what turns a word of the command line into the field's type."""

    def read(word: str) -> Any:
        try:
            return s.type(word)
        except ValueError:
            hint = f"; write {s.flag}={s.bare}, or SOURCE before {s.flag}" if s.bare is not None else ""
            raise argparse.ArgumentTypeError(f"expected {NUMBERS[s.type]}, got {word!r}{hint}") from None

    return read


def _unexpected(parser: Parser, word: str, configs: Sequence[type]) -> str:
    """Return what to say of a word that no flag takes."""
    if not word.startswith("-"):
        return f"{word!r}: expected no further argument; a name with spaces is written in quotes"
    flag = word.partition("=")[0]
    flags = {n: each for n, each in flags_of(configs).items() if each[0] == "-" and n not in parser.refused}
    known = {name.replace("_", "-"): each for name, each in flags.items()}
    shown = (a for a in parser._actions if a.help != argparse.SUPPRESS)
    known |= {name[2:]: name for a in shown for name in a.option_strings if name[:2] == "--"}
    return f"{flag}: expected a flag of {parser.prog}, got an unknown one{_near(flag.lstrip('-'), known)}"


def _near(word: str, known: dict[str, str]) -> str:
    """Return a question after the name that was meant, if one is near."""
    found = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {known[found[0]]}?" if found else ""
