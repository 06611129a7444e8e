"""Training: from a `TrainConfig` to a run directory; and the optimisation loop alone, `fit`."""

from unrolled.train.describing import Description, describe
from unrolled.train.finite import autocast as autocast  # lines with `as`: for rooms of this package
from unrolled.train.fit import Schedule, StepRecord, fit
from unrolled.train.fit import choose_dtype as choose_dtype
from unrolled.train.fit import make_optimizer as make_optimizer
from unrolled.train.fit import native_bfloat16 as native_bfloat16
from unrolled.train.observers import Observer, Row
from unrolled.train.plan import FREE as FREE
from unrolled.train.plan import Finished, Fresh, Resumed, ResumePoint, plan
from unrolled.train.progress import ProgressBar as ProgressBar
from unrolled.train.result import Result
from unrolled.train.run import resolve, run
from unrolled.train.rundir import held as held
from unrolled.train.seeds import Seeds, Spread, run_seeds
from unrolled.train.signals import Stopped
from unrolled.train.signals import Stopper as Stopper
from unrolled.train.signals import listening as listening
from unrolled.train.training_run import own_random_state as own_random_state

__all__ = [
    "Description",
    "Finished",
    "Fresh",
    "Observer",
    "Result",
    "ResumePoint",
    "Resumed",
    "Row",
    "Schedule",
    "Seeds",
    "Spread",
    "StepRecord",
    "Stopped",
    "describe",
    "fit",
    "plan",
    "resolve",
    "run",
    "run_seeds",
]
