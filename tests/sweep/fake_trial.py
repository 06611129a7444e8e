"""Stands in for `unrolled.sweep.trial`: speaks its protocol, trains nothing, and fails as it is told to.

FAKE is a JSON object: ledger (a file that gets a line for each start and end), die (numbers of trials that kill
themselves at their first start), refuse ({number: [class, text]}), pause (seconds at each validation),
gate (a file that each waits for at step 4).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

STEPS = 10


def main() -> None:
    job = json.loads(sys.stdin.readline())
    told = json.loads(os.environ["FAKE"])
    config = job["config"]
    place = Path(config["run"])
    number = int(place.name.removeprefix("trial-"))

    def note(word: str) -> None:
        with open(told["ledger"], "a") as ledger:
            ledger.write(f"{number} {word} {os.getppid()}\n")

    def tell(**message: object) -> None:
        print(json.dumps(message), flush=True)

    note("starts")
    if str(number) in told.get("refuse", {}):
        kind, text = told["refuse"][str(number)]
        tell(ended="failed", kind=kind, kinds=[kind], text=text)
        return
    place.mkdir(parents=True, exist_ok=True)
    saved = place / "step"
    begin = int(saved.read_text()) if saved.exists() else 0
    loss = 10 * abs(config["learning_rate"] - 0.01) + 1 / config["hidden_size"]
    tell(
        began=begin, steps=STEPS, past=[[step, loss + 1 / (step + 1)] for step in range(begin)], parameters=7
    )
    for step in range(begin, STEPS + 1):
        tell(step=step, steps=STEPS, loss=loss + 1 / (step + 1))
        word = sys.stdin.readline().strip()
        saved.write_text(str(step))
        if word != "on":
            note(word or "alone")
            tell(ended="pruned" if word == "prune" else "stopped", step=step, steps=STEPS)
            return
        if number in told.get("die", []) and begin == 0 and step == 4:
            note("dies")
            os.kill(os.getpid(), signal.SIGKILL)
        while step == 4 and "gate" in told and not os.path.exists(told["gate"]):
            time.sleep(0.01)
        time.sleep(told.get("pause", 0))
    note("finishes")
    figures = {"bits_per_char": loss, "nats_per_token": loss}
    tell(ended="finished", loss=loss, figures=figures, main=None, best_step=STEPS, steps=STEPS)


main()
