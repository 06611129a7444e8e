"""Networks for a task. Each keeps one protocol: `initial_state`, `loss`, `evaluate`."""

from unrolled.tasks.evaluation import COLD_STEPS, Evaluation, Score, evaluate_split, evaluate_text
from unrolled.tasks.generation import continuation, generate
from unrolled.tasks.language import LanguageModel
from unrolled.tasks.loading import Loaded, load
from unrolled.tasks.protocol import SequenceModel, State, detach
from unrolled.tasks.telemetry import Telemetry

__all__ = [
    "COLD_STEPS",
    "Evaluation",
    "LanguageModel",
    "Loaded",
    "Score",
    "SequenceModel",
    "State",
    "Telemetry",
    "continuation",
    "detach",
    "evaluate_split",
    "evaluate_text",
    "generate",
    "load",
]
