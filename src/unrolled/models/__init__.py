"""Networks for a task. Each keeps one protocol: `initial_state`, `loss`, `evaluate`."""

from unrolled.models.evaluation import COLD_STEPS, Evaluation, Score, evaluate_split, evaluate_text
from unrolled.models.generation import continuation, generate
from unrolled.models.language import LanguageModel
from unrolled.models.loading import Loaded, load
from unrolled.models.protocol import SequenceModel, State, detach
from unrolled.models.telemetry import Telemetry

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
