"""One function a command: call the package, print what it gives. Torch loads inside."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from unrolled import spec

__all__ = ["doctor", "evaluate", "lab", "probe", "sample", "train"]


def train(args: argparse.Namespace) -> int:
    """`unrolled train`."""
    from unrolled.train import run

    result = run(_train_config(args), asked=_asked(args))
    part = "training text (nothing was held out)" if result.validation_is_train else "validation"
    print(f"\nbest model: step {result.best_step} of {result.schedule.steps}, on the {part}:")
    print(result.evaluation)
    print(f"\na sample:\n{_first_lines(result.sample)}\n")
    files = f"model/ {_pictures(result.run)} samples.txt metrics.jsonl"
    print(f"{result.seconds:.0f} s; in {result.run}: {files}")
    print(f"next: unrolled sample {result.run} --length 400")
    return 0


def sample(args: argparse.Namespace) -> int:
    """`unrolled sample`."""
    from unrolled.sample import sample as draw
    from unrolled.tasks import load

    pieces = draw(
        load(args.run),
        args.prompt,
        length=args.length,
        temperature=args.temperature,
        top_k=args.top_k,
        top_p=args.top_p,
        seed=args.seed,
    )
    first = next(pieces)  # bad settings show before anything is printed
    print(args.prompt + first, end="", flush=True)
    for piece in pieces:
        print(piece, end="", flush=True)
    print()
    return 0


def evaluate(args: argparse.Namespace) -> int:
    """`unrolled eval`."""
    from unrolled.tasks import evaluate_text, load

    found = evaluate_text(load(args.run), args.source, cold_steps=args.cold)
    print(json.dumps(found.to_dict()) if args.json else found)
    return 0


def probe(args: argparse.Namespace) -> int:
    """`unrolled probe`."""
    from unrolled.probe import examine, watching

    with watching() as progress:
        found = examine(
            args.run, args.source, lags=args.lags, known_lag=args.known_lag, html=args.html, progress=progress
        )
    if args.json:
        print(json.dumps({k: v for k, v in found.to_dict().items() if k != "trajectories"}))
    else:
        print(found)
        print(f"{found.seconds:.0f} s" + ("" if args.html is None else f"; the page is {args.html}"))
    return 0


def lab(args: argparse.Namespace) -> int:
    """`unrolled lab`."""
    from unrolled.lab import run

    given = vars(args)
    config = spec.LabConfig(
        **{s.name: given[s.name] for s in spec.settings(spec.LabConfig) if s.name in given}
    )
    found = run(config)
    kept = f", {found.kept} kept from before" if found.kept else ""
    count = "1 trial was" if found.run == 1 else f"{found.run} trials were"
    print(f"{count} run{kept}; {found.seconds:.0f} s")
    print(f"read {found.report}; numbers in {found.results}, {len(found.figures)} pictures beside it")
    return 0


def doctor(args: argparse.Namespace) -> int:
    """`unrolled doctor`."""
    from unrolled.doctor import report

    found = report()
    print(json.dumps(found.to_dict(), indent=2) if args.json else found)
    return 0


def _train_config(args: argparse.Namespace) -> spec.TrainConfig:
    """Return the config that parsed `train` arguments describe."""
    given = vars(args)
    data = {s.name: given[s.name] for s in spec.settings(spec.DataConfig) if s.name in given}
    training = {s.name: given[s.name] for s in spec.settings(spec.TrainConfig) if s.name in given}
    return spec.TrainConfig(data=spec.DataConfig(**data), **training)


def _asked(args: argparse.Namespace) -> set[str]:
    """Return the names of the settings that were given, be it with their defaults."""
    known = (*spec.settings(spec.DataConfig), *spec.settings(spec.TrainConfig))
    return {s.name for s in known} & set(vars(args))


def _first_lines(text: str, lines: int = 10) -> str:
    kept = text.splitlines()[:lines]
    return "\n".join("    " + line for line in kept)


def _pictures(run: Path) -> str:
    """Return the pictures that a run has: an RNN has no gates, and a short run perhaps no telemetry."""
    return " ".join(sorted(path.name for path in run.glob("*.png")))
