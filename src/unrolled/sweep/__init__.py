"""Many runs with different settings: `sweep.run(config, axes, SweepConfig(...))`, `unrolled sweep`.

`sweep.describe(config, axes)` only tells the trials.

The trials of a study are ordinary runs, each in a process of its own. Optuna keeps the study in its journal,
a file of JSON lines, and decides which trials are stopped early.

run.py        the whole                       axes.py      which settings a trial has
plan.py       what it is about to do          settings.py  its config, words and directory
scheduler.py  trials at work                  journal.py   the file of a study
process.py    a trial's process, from outside study.py     which trials are taken, and what is known of them
trial.py      what that process does          results.py   the table and the report
curve.py      its validations                 status.py    what is said meanwhile
"""

from unrolled.sweep.plan import Description, describe
from unrolled.sweep.results import Sweep, SweepTrial
from unrolled.sweep.run import run

__all__ = ["Description", "Sweep", "SweepTrial", "describe", "run"]
