"""Networks for a task, and what a task is: one protocol, `Task`; the language model is the first one.

protocol.py   Task, register, of, named     telemetry.py  the gradient and the gates, while training
examined.py   what the probe asks a network     scores.py     figures beside those of controls
loading.py    load, and tensors' both ways  language/     text: network, evaluation, generation, report, Hub
forecast/     series in time, and what comes next
group.py      processes that score together
estimators/   scikit-learn's conventions    classify/     sequences with one answer each
controls/     simple models to compare with  tag/          a tag for each word of a sentence
stored_arrays.py  RUN/data: samples.npz and corpus.json of the tasks that read no text
run_report.py, ranges.py, calibration.py  what their reports share: tables, errors by length, reliability
stack.py      the recurrent layers of their networks
"""

from unrolled.tasks.classify import SequenceEvaluation, SequenceNetwork
from unrolled.tasks.classify import write_samples as write_samples  # for other rooms; not public
from unrolled.tasks.estimators import Forecaster, SequenceClassifier, SequenceRegressor, SequenceTagger
from unrolled.tasks.examined import Answers, Examined, Figure, Step
from unrolled.tasks.forecast import ForecastEvaluation, ForecastNetwork
from unrolled.tasks.forecast import check_columns as check_columns  # these two: for other rooms; not public
from unrolled.tasks.forecast import write_series as write_series
from unrolled.tasks.group import Group as Group  # for rooms of this package
from unrolled.tasks.language import (
    COLD_STEPS,
    Evaluation,
    LanguageModel,
    Score,
    continuation,
    evaluate_split,
    evaluate_text,
    generate,
)
from unrolled.tasks.loading import Loaded, load
from unrolled.tasks.loading import from_stored as from_stored  # these four: for rooms of this package
from unrolled.tasks.loading import is_finite as is_finite
from unrolled.tasks.loading import model_tensors as model_tensors
from unrolled.tasks.loading import to_stored as to_stored
from unrolled.tasks.protocol import (
    Dataset,
    Means,
    Overview,
    Predictions,
    SequenceModel,
    State,
    Task,
    detach,
    named,
    of,
    register,
)
from unrolled.tasks.tag import ChunkScores, TagEvaluation, TagNetwork, TypeScores, chunk_scores
from unrolled.tasks.tag import Forms as Forms  # these five: for other rooms; not public
from unrolled.tasks.tag import SentenceBatch as SentenceBatch
from unrolled.tasks.tag import SentenceBatches as SentenceBatches
from unrolled.tasks.tag import TagSchema as TagSchema
from unrolled.tasks.tag import best_paths as best_paths
from unrolled.tasks.telemetry import Telemetry, take_telemetry
from unrolled.tasks.telemetry import recurrent_stack as recurrent_stack

__all__ = [
    "COLD_STEPS",
    "Answers",
    "ChunkScores",
    "Dataset",
    "Evaluation",
    "Examined",
    "Figure",
    "ForecastEvaluation",
    "ForecastNetwork",
    "Forecaster",
    "LanguageModel",
    "Loaded",
    "Means",
    "Overview",
    "Predictions",
    "Score",
    "SequenceClassifier",
    "SequenceEvaluation",
    "SequenceModel",
    "SequenceNetwork",
    "SequenceRegressor",
    "SequenceTagger",
    "State",
    "Step",
    "TagEvaluation",
    "TagNetwork",
    "Task",
    "Telemetry",
    "TypeScores",
    "chunk_scores",
    "continuation",
    "detach",
    "evaluate_split",
    "evaluate_text",
    "generate",
    "load",
    "named",
    "of",
    "register",
    "take_telemetry",
]
