"""Corpora and batching: from a source of text to windows of ids."""

from unrolled.data.batch import IGNORED, Batch, Batches, to_tensor
from unrolled.data.corpus import Corpus, reopen
from unrolled.data.decoding import normalised as normalised  # for other rooms; not public
from unrolled.data.documents import Document
from unrolled.data.encoding import Split, encode_text
from unrolled.data.identity import identity
from unrolled.data.lines import LineBatches, gather
from unrolled.data.preparing import encode_source, prepare
from unrolled.data.sources import SENTENCES, Reading, name_of, read
from unrolled.data.streams import StreamBatches
from unrolled.data.survey import fingerprint
from unrolled.data.windows import carried_windows, cold_windows

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
