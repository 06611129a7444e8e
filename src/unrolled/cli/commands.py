"""One function a command: call the package, print what it gives. Torch loads inside."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unrolled import files, spec
from unrolled.cli.causal import price_of_causal
from unrolled.cli.flags import check_task, named_task
from unrolled.errors import ConfigError, StateError, counted, expected

if TYPE_CHECKING:
    from unrolled.stream import Session, TaskSession

__all__ = [
    "doctor",
    "evaluate",
    "export",
    "help",
    "lab",
    "predict",
    "probe",
    "quantize",
    "sample",
    "stream",
    "sweep",
    "train",
    "version",
]

FOREIGN_STATE = 2**24  # bytes of a larger model's state that are read, to say that it is another's
CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # C0 and C1, but for tabs and line ends


def train(args: argparse.Namespace) -> int:
    """`unrolled train`."""
    call = spec.TrainCall(**_given(args, spec.TrainCall))
    kind = named_task(vars(args))
    check_task(kind, vars(args))
    data, training = _given(args, kind.data), _given(args, spec.TrainConfig)
    config = spec.TrainConfig(kind.data(**data), **training)
    with loading():
        from unrolled.train import describe, run, run_seeds

    if call.dry_run:
        found = describe(config)
        print(json.dumps(found.to_dict()) if args.json else found)
        return 0
    asked = {*data, *training}
    if training.get("cell") == "auto":  # a resumed run keeps its own
        asked.discard("cell")
    if call.seeds is not None:
        several = run_seeds(config, call.seeds, asked=asked)
        print(json.dumps(several.to_dict()) if args.json else f"\n{several}")
        return 0
    result = run(config, asked=asked)
    if spec.Launch.found().rank:  # rank 0 prints
        return 0
    if args.json:
        print(json.dumps(result.to_dict()))
        return 0
    part = "training text (nothing was held out)" if result.validation_is_train else "validation"
    of_text = kind is spec.LANGUAGE
    where = f", on the {part}:" if of_text else ", chosen by the validation part:"
    print(f"\nbest model: step {result.best_step} of {result.schedule.steps}{where}")
    print(result.evaluation)
    if result.sample:
        print(f"\na sample:\n{_first_lines(result.sample)}")
    print(f"\n{result.seconds:.0f} s; in {result.run}: {_left(spec.RunDirectory(result.run))}")
    place = shlex.quote(str(result.run))
    source = Path(data["source"])  # what is new is a file or folder like it; of texts, lines will do
    new, test = f"new{source.suffix}", f"test{source.suffix}"  # with answers, to be scored
    lines = any(source.glob("*.txt")) if source.is_dir() else False
    price = None if config.resume else price_of_causal(result.run, vars(args), program=program())
    if price is not None:
        print(price)
    of_task = [f"predict {place} {'new.txt' if lines else new}", f"eval {place} {test}", f"probe {place}"]
    if getattr(result.config.data, "causal", False) and result.model.streamed() is not None:
        of_task.append(f"stream {place} < {'lines.txt' if lines else 'steps.jsonl'}")
    for command in [f"sample {place} --length 400"] if of_text else of_task:
        print(f"next: {program()} {command}")
    return 0


def sweep(args: argparse.Namespace) -> int:
    """`unrolled sweep`."""
    call = spec.SweepCall(**_given(args, spec.SweepCall))
    plan = spec.SweepConfig(**_given(args, spec.SweepConfig))
    kind = named_task(vars(args))
    check_task(kind, vars(args))
    found: dict[str, Any] = {}
    for cls in (kind.data, spec.TrainConfig):
        for each in spec.settings(cls):
            if hasattr(args, each.name):
                given = getattr(args, each.name)
                found[each.name] = spec.read_words(each, given) if isinstance(given, list) else given
    axes = {name: each for name, each in found.items() if isinstance(each, (tuple, spec.Range))}
    if not axes:
        want = "one of the flags of unrolled train with several values, such as --lr 1e-3,3e-3, or a range, "
        raise ConfigError(expected("--FLAG", f"{want}such as --lr 1e-4..1e-2", "none"))
    first = {n: a.low if isinstance(a, spec.Range) else a[0] for n, a in axes.items()}
    of_data = {each.name for each in spec.settings(kind.data)}
    data = {name: value for name, value in (found | first).items() if name in of_data}
    training = {name: value for name, value in (found | first).items() if name not in of_data}
    config = spec.TrainConfig(kind.data(**data), **training)
    with loading():
        from unrolled.sweep import describe, run

    asked = {name for name, value in found.items() if (name, value) != ("cell", "auto")}
    if call.dry_run:
        told = describe(config, axes, plan, asked=asked)
        print(json.dumps(told.to_dict()) if args.json else _shown(str(told)))
        if not args.json:
            print(f"size and time of the first: {program()} {shlex.join(told.command)} --dry-run")
        return 0
    result = run(config, axes, plan, asked=asked)
    if args.json:
        print(json.dumps(result.to_dict()))
    else:
        print(_shown(str(result)))
        if result.best is not None:
            place = shlex.quote(str(result.best.run))
            print(f"\nbest: {place}; table and picture: {result.study / 'sweep.md'}")
            use = f"sample {place} --length 400" if kind is spec.LANGUAGE else f"predict {place} NEW"
            print(f"next: {program()} {use}")
            print(f"to train it again: {program()} {shlex.join(result.command)}")
    return 0 if result.best is not None or not result.count("failed") else 1


def sample(args: argparse.Namespace) -> int:
    """`unrolled sample`."""
    with loading():
        from unrolled.sample import sample as draw

    settings = spec.to_json(spec.SampleConfig(**_given(args, spec.SampleConfig)))
    pieces = draw(_sampled(settings.pop("run")), **settings)
    first = next(pieces)  # bad settings show before anything is printed
    print(_shown(settings["prompt"] + first), end="", flush=True)
    for piece in pieces:
        print(_shown(piece), end="", flush=True)
    print()
    return 0


def _sampled(run: str) -> Any:
    """Return a network to draw from: without torch, where this install has compiled kernels."""
    with loading():
        from unrolled import kernels
        from unrolled.sample import check_text

        native = kernels.available()
        if native:
            from unrolled.stream import load
        else:  # where torch is missing, that is said before the run is looked at
            from unrolled.tasks import load  # type: ignore[assignment]

    if not check_text(run) and native:
        with loading():
            from unrolled.tasks import load  # type: ignore[assignment]
    return load(run)


def predict(args: argparse.Namespace) -> int:
    """`unrolled predict`."""
    with loading():
        from unrolled.predict import as_csv, as_json_lines
        from unrolled.predict import predict as answer

    config = spec.PredictConfig(**_given(args, spec.PredictConfig))
    found = answer(config.run, config.source, out=config.out)
    if config.out is None:
        for line in as_json_lines(found) if args.json else as_csv(found):
            print(_shown(line), end="")
    elif args.json:
        print(json.dumps({"rows": len(found), "out": config.out, "notes": list(found.notes)}))
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    where = "" if config.out is None else f" in {config.out}"
    print(counted(len(found), "answer") + where, file=sys.stderr)
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """`unrolled eval`."""
    with loading():
        from unrolled.predict import evaluate as score

    config = spec.EvalConfig(**_given(args, spec.EvalConfig))
    found = score(config.run, config.source, cold_steps=config.cold_steps)
    print(json.dumps(found.to_dict()) if args.json else found)
    controls = spec.RunDirectory.around(config.run).controls
    if config.source is not None and not args.json and controls.is_file():
        print(f"The controls were not scored on this file; their scores in the run itself are in {controls}")
    return 0


def stream(args: argparse.Namespace) -> int:
    """`unrolled stream`."""
    with loading():
        from unrolled.stream import LineReader, StepReader, TaskModel, answer_lines, load

    config = spec.StreamConfig(**_given(args, spec.StreamConfig))
    model = load(config.run, weights=config.weights)
    kept = None if config.state is None else Path(config.state)
    if kept is not None and not kept.parent.is_dir():
        raise ConfigError(expected("state", "a file in a directory that exists", repr(config.state)))
    fresh = kept is None or not kept.exists()
    blob = None
    if kept is not None and not fresh:
        own = len(model.open().save())
        blob = files.read_regular(kept, max(own, FOREIGN_STATE), StateError)
    reader: LineReader | StepReader
    if isinstance(model, TaskModel):
        reader = StepReader(model, model.open(blob))
    else:
        reader = LineReader(model, model.open(blob), fresh=fresh)
    save = None if kept is None else partial(_save, reader.session, kept)
    try:
        with ended_by_sigterm():
            answer_lines(reader, sys.stdin, _flushing, as_json=args.json, top=config.top, save=save)
    finally:
        if save is not None:
            save()
        if config.health:
            print(reader.session.health(), file=sys.stderr)
    return 0


def _save(session: Session | TaskSession, kept: Path) -> None:
    files.replace(kept, session.save())


def _flushing(line: str) -> None:
    print(_shown(line), flush=True)


def quantize(args: argparse.Namespace) -> int:
    """`unrolled quantize`."""
    with loading():
        from unrolled.quantize import quantize as run

    config = spec.QuantizeConfig(**_given(args, spec.QuantizeConfig))
    settings = spec.to_json(config)
    found = run(settings.pop("run"), **settings, show=None if args.json else print)
    print(json.dumps(found.to_dict()) if args.json else f"{found}\nwritten to {found.path}")
    if found.warning is not None:
        print(f"unrolled: {found.warning}", file=sys.stderr)
    return 0


def export(args: argparse.Namespace) -> int:
    """`unrolled export`."""
    with loading():
        from unrolled.export import export as run

    settings = spec.to_json(spec.ExportConfig(**_given(args, spec.ExportConfig)))
    found = run(settings.pop("run"), **settings)
    print(json.dumps(found.to_dict()) if args.json else found)
    if found.warning is not None:
        print(f"unrolled: {found.warning}", file=sys.stderr)
    return 0 if found.file_check is None or found.file_check.passed else 1


def probe(args: argparse.Namespace) -> int:
    """`unrolled probe`."""
    with loading():
        from unrolled.probe import examine, watching

    config = spec.ProbeConfig(**_given(args, spec.ProbeConfig))
    with watching() as progress:
        found = examine(**spec.to_json(config), progress=progress)
    if args.json:
        print(json.dumps({k: v for k, v in found.to_dict().items() if k != "trajectories"}))
    else:
        print(found)
        print(f"{found.seconds:.0f} s" + ("" if config.html is None else f"; the page is {config.html}"))
    return 0


def lab(args: argparse.Namespace) -> int:
    """`unrolled lab`."""
    with loading():
        from unrolled.lab import run

    found = run(spec.LabConfig(**_given(args, spec.LabConfig)))
    kept = f", {found.kept} kept from before" if found.kept else ""
    print(f"{counted(found.run, 'trial')} run{kept}; {found.seconds:.0f} s")
    pictures = counted(len(found.figures), "picture")
    print(f"read {found.report}; numbers in {found.results}, {pictures} beside it")
    return 0


def doctor(args: argparse.Namespace) -> int:
    """`unrolled doctor`."""
    with loading():
        from unrolled.doctor import report

    found = report()
    print(json.dumps(found.to_dict(), indent=2) if args.json else found)
    return 0


def help(parser: argparse.ArgumentParser, _: argparse.Namespace) -> int:
    """`unrolled` without a command."""
    parser.print_help()
    return 0


def version(_: argparse.Namespace) -> int:
    """`unrolled --version`."""
    from unrolled import __version__

    print(f"unrolled {__version__}")
    return 0


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Let Ctrl-C end the process at once while torch loads: nothing has begun that would need an end.

    torch and numpy may swallow a KeyboardInterrupt there, and are broken afterwards.
    """
    usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not usual or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


class Terminated(KeyboardInterrupt):
    """SIGTERM, taken like Ctrl-C: what is open is put in order on the way out."""

    exit_code = 143


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within, SIGTERM raises Terminated; in another thread than the main one nothing changes."""

    def stop(*_: object) -> None:
        raise Terminated("ended by SIGTERM")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _given(args: argparse.Namespace, cls: type) -> dict[str, Any]:
    """Return the settings of a config class that were given, even if with their defaults."""
    return {s.name: getattr(args, s.name) for s in spec.settings(cls) if hasattr(args, s.name)}


def program(*, again: bool = False) -> str:
    """Return how this program can be called: `unrolled` may not be on the path.

    Args:
        again: as it was, so with as many processes.
    """
    launch = spec.Launch.found()
    if again and not launch.alone:
        hosts = launch.world_size // launch.local_world_size
        where = "--standalone" if hosts == 1 else f"--nnodes {hosts} …"
        return f"torchrun {where} --nproc-per-node {launch.local_world_size} -m -- unrolled"
    if shutil.which("unrolled"):
        return "unrolled"
    called = Path(sys.argv[0])
    own = [str(called)] if called.name == "unrolled" else [sys.executable, "-m", "unrolled"]
    return shlex.join(own)


def _first_lines(text: str, lines: int = 10) -> str:
    kept = text.splitlines()[:lines]
    return _shown("\n".join("    " + line for line in kept))


def _shown(text: str) -> str:
    """Return a text for standard output: on a terminal, which a model's symbols might command, escaped."""
    return CONTROLS.sub(lambda found: repr(found[0])[1:-1], text) if sys.stdout.isatty() else text


def _left(run: spec.RunDirectory) -> str:
    """Return what a reader may open in a run; which pictures and texts there are depends on its task."""
    written = (each for each in run.files if each not in (run.config, run.metrics, run.evaluation))
    names = sorted(each.name for each in written if each.suffix and each.is_file())
    return " ".join([f"{run.model.name}/", *names, run.metrics.name])
