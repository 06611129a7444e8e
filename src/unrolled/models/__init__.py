"""Networks for a task. Each keeps one protocol: `initial_state`, `loss`, `evaluate`."""

from unrolled.models.evaluation import COLD_STEPS, Evaluation, Score, evaluate_split, evaluate_text
from unrolled.models.generation import continuation, generate
from unrolled.models.language import LanguageModel
from unrolled.models.loading import Loaded, load
from unrolled.models.protocol import SequenceModel, State, detach

__all__ = [
    "COLD_STEPS",
    "Evaluation",
    "LanguageModel",
    "Loaded",
    "Score",
    "SequenceModel",
    "State",
    "continuation",
    "detach",
    "evaluate_split",
    "evaluate_text",
    "generate",
    "load",
]
