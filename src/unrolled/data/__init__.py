"""Corpora and batching: from a source of text to windows of ids."""

from unrolled.data.batches import (
    IGNORED,
    Batch,
    Batches,
    LineBatches,
    StreamBatches,
    carried_windows,
    cold_windows,
    gather,
    to_tensor,
)
from unrolled.data.corpus import Corpus, identity, reopen
from unrolled.data.encoding import Split, encode_text
from unrolled.data.looks import looks_like as looks_like  # for other rooms; not public
from unrolled.data.preparing import encode_source, prepare
from unrolled.data.sources import SENTENCES, Reading, name_of, read
from unrolled.data.survey import fingerprint
from unrolled.data.text import Document

__all__ = [
    "IGNORED",
    "SENTENCES",
    "Batch",
    "Batches",
    "Corpus",
    "Document",
    "LineBatches",
    "Reading",
    "Split",
    "StreamBatches",
    "carried_windows",
    "cold_windows",
    "encode_source",
    "encode_text",
    "fingerprint",
    "gather",
    "identity",
    "name_of",
    "prepare",
    "read",
    "reopen",
    "to_tensor",
]
