"""Sentences with a tag for each word: chunks, named entities, parts of speech.

dataset.py  three parts of a source    network.py     words, characters, a two-way stack, the field over tags
storing.py  sentences in RUN/data      crf.py         log-partition, marginals, best path
schema.py   what reads new sentences   metrics.py     chunks by conlleval's rules
forms.py    what is read of a word     evaluation.py  scores beside those of controls
batches.py  sentences side by side     report.py      report.md, predictions, pictures
"""

from unrolled.tasks.tag.batches import SentenceBatch, SentenceBatches
from unrolled.tasks.tag.crf import best_paths
from unrolled.tasks.tag.evaluation import Evaluation as TagEvaluation
from unrolled.tasks.tag.evaluation import tagged
from unrolled.tasks.tag.forms import Forms
from unrolled.tasks.tag.metrics import ChunkScores, TypeScores, chunk_scores
from unrolled.tasks.tag.network import TagNetwork
from unrolled.tasks.tag.schema import Schema
from unrolled.tasks.tag.schema import Schema as TagSchema
from unrolled.tasks.tag.storing import write_sentences
from unrolled.tasks.tag.task import TagTask

__all__ = [
    "ChunkScores",
    "Forms",
    "Schema",
    "SentenceBatch",
    "SentenceBatches",
    "TagEvaluation",
    "TagNetwork",
    "TagSchema",
    "TagTask",
    "TypeScores",
    "best_paths",
    "chunk_scores",
    "tagged",
    "write_sentences",
]
