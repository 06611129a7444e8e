"""Many runs with different settings: `sweep.run(config, axes, SweepConfig(...))`, `unrolled sweep`.

The trials of a study are ordinary runs, each in a process of its own. Optuna keeps the study in its journal,
a file of JSON lines, and decides which trials are stopped early.

run.py        the whole                       axes.py      which settings a trial has
scheduler.py  trials at work                  settings.py  its config, words and directory
process.py    a trial's process, from outside journal.py   the file of a study
trial.py      what that process does          study.py     which trials are taken, and what is known of them
curve.py      its validations                 results.py   the table and the report
"""

from unrolled.sweep.results import Sweep, SweepTrial
from unrolled.sweep.run import run

__all__ = ["Sweep", "SweepTrial", "run"]
