"""Text to ids and back: characters, bytes, words, BPE. No torch."""

# For other rooms of the package; not public.
from unrolled.tokens.base import MARK as MARK
from unrolled.tokens.base import Decoder, Tokens
from unrolled.tokens.base import id_dtype as id_dtype
from unrolled.tokens.base import normalised as normalised
from unrolled.tokens.bpe import BpeTokens
from unrolled.tokens.bpe import require as require
from unrolled.tokens.byte import ByteTokens
from unrolled.tokens.char import CharTokens
from unrolled.tokens.counting import Kinds as Kinds
from unrolled.tokens.counting import WordCounts as WordCounts
from unrolled.tokens.files import build, from_json, load
from unrolled.tokens.files import from_counts as from_counts
from unrolled.tokens.files import gatherer as gatherer
from unrolled.tokens.word import WordTokens

__all__ = [
    "BpeTokens",
    "ByteTokens",
    "CharTokens",
    "Decoder",
    "Tokens",
    "WordTokens",
    "build",
    "from_json",
    "load",
]
