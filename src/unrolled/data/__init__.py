"""Corpora, samples and batches: from a source of text to windows of ids, and from sequences to batches."""

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
from unrolled.data.columns import Column
from unrolled.data.columns import examples_of as examples_of  # for other rooms; not public
from unrolled.data.corpus import Corpus, identity, reopen
from unrolled.data.encoding import Split, encode_text
from unrolled.data.labelled import npy_header as npy_header  # for other rooms; not public
from unrolled.data.labelled import read_samples, read_sentences
from unrolled.data.labelled import test_beside as test_beside  # for other rooms; not public
from unrolled.data.looks import looks_like as looks_like  # for other rooms; not public
from unrolled.data.partition import Overlap, Partition, overlap, partition
from unrolled.data.preparing import encode_source, prepare
from unrolled.data.sample_batches import SampleBatches
from unrolled.data.samples import Samples
from unrolled.data.schemes import (
    SchemeFound,
    chunks,
    find_scheme,
    from_bioes,
    in_scheme,
    legal,
    scheme_of,
    to_bioes,
)
from unrolled.data.sentences import Sentences, unknown_tags_text
from unrolled.data.series import Series
from unrolled.data.sources import SENTENCES, Reading, name_of, read
from unrolled.data.survey import fingerprint
from unrolled.data.text import Document
from unrolled.data.timeseries.reading import read_series
from unrolled.schema import Scaler

__all__ = [
    "IGNORED",
    "SENTENCES",
    "Batch",
    "Batches",
    "Column",
    "Corpus",
    "Document",
    "LineBatches",
    "Overlap",
    "Partition",
    "Reading",
    "SampleBatches",
    "Samples",
    "Scaler",
    "SchemeFound",
    "Sentences",
    "Series",
    "Split",
    "StreamBatches",
    "carried_windows",
    "chunks",
    "cold_windows",
    "encode_source",
    "encode_text",
    "find_scheme",
    "fingerprint",
    "from_bioes",
    "gather",
    "identity",
    "in_scheme",
    "legal",
    "name_of",
    "overlap",
    "partition",
    "prepare",
    "read",
    "read_samples",
    "read_sentences",
    "read_series",
    "reopen",
    "scheme_of",
    "to_bioes",
    "to_tensor",
    "unknown_tags_text",
]
