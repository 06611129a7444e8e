"""Networks for a task. Each keeps one protocol: `initial_state`, `loss`, `evaluate`."""

from unrolled.models.evaluation import Evaluation, Score, evaluate_split, evaluate_text
from unrolled.models.generation import generate
from unrolled.models.language import LanguageModel
from unrolled.models.loading import Loaded, load
from unrolled.models.protocol import SequenceModel, State, detach

__all__ = [
    "Evaluation",
    "LanguageModel",
    "Loaded",
    "Score",
    "SequenceModel",
    "State",
    "detach",
    "evaluate_split",
    "evaluate_text",
    "generate",
    "load",
]
