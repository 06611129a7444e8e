"""The lecture's claims and questions, answered by measurement: `lab.run(LabConfig(...))`, `unrolled lab`.

An experiment is an `Experiment`; `sentences.py` is an example, and `run.EXPERIMENTS` lists them. Its
trials train for real, silently, capped by steps where that can be; a run that diverged is a result, no
error. What is done, with these settings, is kept in OUT/trials.json, which is replaced after each trial.
A test takes every number of report.md and looks for it in results.json, among summaries, settings and
constants.

experiment.py  Trial, Done, Experiment, pick    results.py   trials.json and results.json
spread.py      aggregates, and how they print   report.py    report.md
run.py         plan, run, sum up                workers.py   processes that run trials side by side
compare.py     whether two groups differ        problems.py  what needs memory, with controls
mnist1d.py     the curves of MNIST-1D           learning.py  a network, trained until it solves a problem
sentences.py   memory.py   speed.py   remedies.py   gradients.py      the experiments
"""

from unrolled.errors import older_names
from unrolled.lab.experiment import Done, Experiment, Trial, pick
from unrolled.lab.run import Lab, run
from unrolled.lab.spread import number, spread, spread_text, within_cap, within_text

__all__ = [
    "Done",
    "Experiment",
    "Lab",
    "Trial",
    "number",
    "pick",
    "run",
    "spread",
    "spread_text",
    "within_cap",
    "within_text",
]

__getattr__ = older_names("unrolled.lab", {"Cell": ("lab.Trial", Trial)})
