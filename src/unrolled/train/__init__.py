"""Training: from a `TrainConfig` to a run directory."""

from unrolled.train.observer import Observer, Row, StepRecord
from unrolled.train.run import Result, run
from unrolled.train.schedule import Schedule
from unrolled.train.signals import Stopped
from unrolled.train.sizing import resolve

__all__ = ["Observer", "Result", "Row", "Schedule", "StepRecord", "Stopped", "resolve", "run"]
