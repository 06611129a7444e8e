"""Text to ids and back: characters, bytes, words, BPE. No torch."""

from unrolled.tokens.base import Decoder, Tokens
from unrolled.tokens.bpe import BpeTokens
from unrolled.tokens.byte import ByteTokens
from unrolled.tokens.char import CharTokens
from unrolled.tokens.files import build, from_json, load
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
