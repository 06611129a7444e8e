"""Series in time, and what comes next: point forecasts, intervals and distributions.

dataset.py, storing.py, split.py  a source, its series, their parts    network.py        segments, or steps
channels.py, windows.py, steps.py what the network reads, in batches   distributions.py  losses and quantiles
schema.py   scaling, columns, corrections                              answers.py, predicting.py  forecasts
evaluation.py, metrics.py, conformal.py, report.py                     sizing.py         sizes by rule
"""

from unrolled.tasks.forecast.channels import check_columns
from unrolled.tasks.forecast.evaluation import Evaluation as ForecastEvaluation
from unrolled.tasks.forecast.network import ForecastNetwork
from unrolled.tasks.forecast.predicting import Upcoming, backtested
from unrolled.tasks.forecast.schema import Schema
from unrolled.tasks.forecast.storing import write_series
from unrolled.tasks.forecast.task import ForecastTask

__all__ = [
    "ForecastEvaluation",
    "ForecastNetwork",
    "ForecastTask",
    "Schema",
    "Upcoming",
    "backtested",
    "check_columns",
    "write_series",
]
