"""Measure a run on a text larger than its memory: the peak, the time to the first step, tokens per second.

    python bench/large_text.py                           # 1 GiB of characters
    python bench/large_text.py --mib 64 --tokens bpe:1000

Generates a text from a fixed list of syllables (the same for the same size), trains on it in a process of
its own, and reads that process's anonymous resident memory (RssAnon of /proc, so Linux alone) every 50 ms.
Prints Markdown; with --write it also goes into bench/RESULTS.md. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import machine
from record import ROOT, commit
from report import replace_section, table

LIMIT_MIB = 600
SECONDS = 0.05  # between two looks at the memory
SYLLABLES = [
    "ba",
    "be",
    "bo",
    "da",
    "de",
    "do",
    "fa",
    "fi",
    "ga",
    "go",
    "ha",
    "hi",
    "ka",
    "ki",
    "la",
    "li",
    "lo",
    "ma",
    "me",
    "mo",
    "na",
    "ne",
    "no",
    "pa",
    "po",
    "ra",
    "ri",
    "ro",
    "sa",
    "se",
    "so",
    "ta",
    "te",
    "to",
    "u",
]
SENTENCES = 100_000
PHASES = ("import", "preparing", "up to the first step", "steps", "report")


@dataclass(frozen=True)
class Run:
    """What one run came to."""

    peaks: dict[str, int]  # phase → bytes
    seconds: dict[str, float]  # phase → its length
    tokens_per_s: float
    size: int  # bytes of the text


def main() -> None:
    args = _arguments()
    if args.child:
        _child(args)
        return
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        text = Path(folder) / "text.txt"
        _write_text(text, args.mib * 2**20)
        found = _measure(text, Path(folder) / "run", args)
    section = _section(args, found)
    print(section)
    if args.write:
        replace_section(ROOT / "bench" / "RESULTS.md", "large_text", section)


def _write_text(path: Path, size: int) -> None:
    """Write so many bytes of sentences, a few to a line, with a blank line now and then."""
    generator = random.Random(0)
    words = ["".join(generator.choices(SYLLABLES, k=generator.randint(1, 4))) for _ in range(20_000)]
    often = [1 / (rank + 3) for rank in range(len(words))]
    drawn = iter(generator.choices(words, often, k=SENTENCES * 12))
    pool = [_sentence(drawn, generator.randint(4, 12)) for _ in range(SENTENCES)]
    with open(path, "w", encoding="ascii") as file:
        while size > 0:
            lines = (" ".join(generator.choices(pool, k=generator.randint(1, 4))) for _ in range(1000))
            block = ("\n".join(lines) + "\n\n")[:size]
            file.write(block)
            size -= len(block)


def _sentence(words: Iterator[str], count: int) -> str:
    return " ".join(next(words) for _ in range(count)).capitalize() + "."


def _measure(text: Path, run: Path, args: argparse.Namespace) -> Run:
    words = [str(text), "--child", str(run), "--tokens", args.tokens, "--steps", str(args.steps)]
    begin = time.time()
    with subprocess.Popen([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True) as child:
        looks = list(_looks(child))
        said = child.stdout.read() if child.stdout is not None else ""
    if child.returncode:
        raise SystemExit(f"the run on {text} ended with {child.returncode}")
    events: list[dict[str, Any]] = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    borders = [begin, *(event["at"] for event in events), looks[-1][0]]
    spans = list(zip(PHASES, borders, borders[1:], strict=False))
    return Run(
        peaks={name: max((m for at, m in looks if a <= at <= b), default=0) for name, a, b in spans},
        seconds={name: b - a for name, a, b in spans},
        tokens_per_s=events[-1]["tokens_per_s"],
        size=text.stat().st_size,
    )


def _looks(child: subprocess.Popen[str]) -> Iterator[tuple[float, int]]:
    """Yield (time, bytes of anonymous resident memory) until the process ends."""
    status = Path(f"/proc/{child.pid}/status")
    while child.poll() is None:
        lines = status.read_text(encoding="ascii").splitlines()
        anonymous = next((line for line in lines if line.startswith("RssAnon")), None)
        if anonymous is not None:  # a process that has just ended has none
            yield time.time(), 1024 * int(anonymous.split()[1])
        time.sleep(SECONDS)


def _child(args: argparse.Namespace) -> None:
    """Train as `unrolled train` does, and say when what begins."""
    from unrolled.spec import DataConfig, TrainConfig
    from unrolled.train import Observer, StepRecord, run

    rates: list[float] = []

    def say(**more: object) -> None:
        print(json.dumps({"at": time.time(), **more}), flush=True)

    class Clock(Observer):
        prepared = False

        def note(self, text: str) -> None:
            if not self.prepared:
                self.prepared = True
                say()

        def step(self, record: StepRecord) -> None:
            if record.step == 1:
                say()
            rates.append(record.tokens / record.seconds)

        def end(self) -> None:
            say(tokens_per_s=statistics.median(rates[len(rates) // 5 :]))

    say()
    data = DataConfig(str(args.text), tokens=args.tokens)
    run(TrainConfig(data, run=str(args.child), steps=args.steps, save_every=args.steps), [Clock()])


def _section(args: argparse.Namespace, found: Run) -> str:
    import torch

    mib, peak = found.size / 2**20, max(found.peaks.values()) / 2**20
    first = sum(found.seconds[name] for name in PHASES[:3])
    facts = [
        ("peak anonymous memory, torch included", f"{peak:,.0f} MiB", f"{LIMIT_MIB} MiB"),
        ("seconds from the start of the process to the end of the first step", f"{first:.1f}", ""),
        ("preparing, MB/s of text", f"{found.size / 1e6 / found.seconds['preparing']:,.0f}", ""),
        ("training, tokens/s", f"{found.tokens_per_s:,.0f}", ""),
    ]
    phases = [
        [name, f"{found.seconds[name]:.1f}", f"{found.peaks[name] / 2**20:,.0f}"]
        for name in PHASES
        if name in found.peaks
    ]
    words = f"--mib {args.mib} --tokens {args.tokens} --steps {args.steps}"
    parts = (
        "## A text larger than memory",
        f"`python bench/large_text.py {words}`, {time.strftime('%Y-%m-%d')}, commit {commit()}. "
        f"A generated text of {mib:,.0f} MiB,\none process, default sizes.",
        machine.line(machine.facts(torch.get_num_threads(), limit=True)),
        "\n".join(table(("what", "reached", "asked for"), facts)),
        "\n".join(table(("phase", "seconds", "peak MiB"), phases)),
    )
    return "\n\n".join(parts)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", type=Path, nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--mib", type=int, default=1024, help="of text")
    parser.add_argument("--tokens", default="char")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--folder", type=Path, help="where the text and the run lie, while it lasts")
    parser.add_argument("--write", action="store_true", help="put the section into bench/RESULTS.md")
    return parser.parse_args()


if __name__ == "__main__":
    main()
