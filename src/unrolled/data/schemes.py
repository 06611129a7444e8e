"""How tags of words mark chunks: IOB1, IOB2 and BIOES, recognised, checked, converted.

    words   we    saw   the   yellow  dog      two chunks side by side: Ann | Bob
    IOB1    I-NP  O     I-NP  I-NP    I-NP     I-PER B-PER  (B only where a chunk follows one of its type)
    IOB2    B-NP  O     B-NP  I-NP    I-NP     B-PER B-PER
    BIOES   S-NP  O     B-NP  I-NP    E-NP     S-PER S-PER

BIOES is also spelled IOBES, BILOU (L for E, U for S) and BMES (M for I). A tag is "O", or a letter, "-" and a
type; a letter alone where there is one type, as in the segmentation of words. Other tags, such as parts of
speech, are plain: scheme None.

**Broken tags.** Real files have them: a few I-NP after O in IOB2. They are counted and noted with the line of
the first, and read by the rules of conlleval (Tjong Kim Sang & Buchholz 2000), the judge of the CoNLL tasks:
any tag but O belongs to a chunk, and a chunk begins where the type changes, after O, after E or S, and at B
or S. What is refused is what no rule reads: beside O and B-NP, a tag without a type, or with another letter.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data.sentences import Sentences
from unrolled.errors import ConfigError, DataError, counted, expected
from unrolled.files import quoted, refusal

__all__ = [
    "SCHEMES",
    "Scheme",
    "SchemeFound",
    "chunks",
    "find_scheme",
    "from_bioes",
    "in_scheme",
    "legal",
    "scheme_of",
    "to_bioes",
]

Scheme: TypeAlias = Literal["IOB1", "IOB2", "BIOES"]
Array: TypeAlias = npt.NDArray[Any]
Where: TypeAlias = Callable[[int, int], str]

SCHEMES: tuple[Scheme, ...] = ("IOB2", "IOB1", "BIOES")  # the first is taken where as many tags fit two
SPELLINGS = ("BIES", "BILU", "BMES", "BMLU")  # begin, inside, end, single
MEANS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S", "[": "[", "]": "]"}
OUTSIDE = ("O", ".")  # the second as in conlleval
ENDING, BEGINNING = "ES[]", "BS[]"  # after these a chunk ends; at these one begins
MOST_TAGS = 10_000


def parts(tag: str) -> tuple[str, str] | None:
    """Return what a tag's letter means, in BIOES, and its type: ("E", "NP") of L-NP; ("O", ""); else None."""
    if tag in OUTSIDE:
        return "O", ""
    letter, dash, kind = tag.partition("-")
    if letter not in MEANS or (dash and not kind):
        return None
    return MEANS[letter], kind


@dataclass(frozen=True)
class SchemeFound:
    """The scheme of some tags, and how well they keep to it."""

    scheme: Scheme | None  # None: plain tags
    spelling: str = "BIES"  # the letters for begin, inside, end and single
    broken: int = 0  # tags that cannot stand where they stand
    first: str = ""  # the first of them, with its place: "I-NP after O, line 12"

    @property
    def note(self) -> str | None:
        """What to tell people of broken tags."""
        if not self.broken:
            return None
        how = f"such as {self.first}, read as conlleval does"
        verb = "violates" if self.broken == 1 else "violate"
        return f"{counted(self.broken, 'tag')} {verb} {self.scheme}, {how}"


def scheme_of(tags: Iterable[Sequence[str]]) -> Scheme | None:
    """Return the scheme that the tags of sentences keep to, or keep to best; None for plain tags.

    Raises DataError: tags of a scheme beside one that no scheme has.
    """
    return find_scheme(list(tags)).scheme


def find_scheme(tags: Sequence[Sequence[str]] | Sentences) -> SchemeFound:
    """Return the scheme with the tags that break it counted, and the first of them with its line.

    Raises DataError: tags of a scheme beside one that no scheme has (its line is named); too many tags.
    """
    given: Sequence[Sequence[str]]
    where: Where
    if isinstance(tags, Sentences):
        given, where = tags.tags or (), tags.where
    else:
        given, where = tags, lambda sentence, token: f"sentence {sentence}, word {token + 1}"
    names, codes, begins = coded(given)
    if not _marks_chunks(names, lambda bad: _place(codes, begins, names.index(bad), where)):
        return SchemeFound(None)
    letters = {name[0] for name in names}
    spelling = max(SPELLINGS, key=lambda letters_of: len(letters & set(letters_of)))
    before, after = _borders(codes, begins, len(names))
    results = [(scheme, ~legal(names, scheme)[before, after]) for scheme in SCHEMES]
    scheme, wrong = min(results, key=lambda result: int(np.count_nonzero(result[1])))
    number = int(np.count_nonzero(wrong))
    return SchemeFound(scheme, spelling, number, _shown(wrong, names, codes, begins, where) if number else "")


def _marks_chunks(names: Sequence[str], place: Callable[[str], str]) -> bool:
    """Whether tags are those of a scheme. Raises DataError: most are, and one cannot be."""
    if len(names) > MOST_TAGS:
        return False
    read = {name: parts(name) for name in names}
    others = [name for name, each in read.items() if each is None]
    typed = [name for name, each in read.items() if each is not None and each[1]]
    if others:
        if "O" in read and any(name.startswith(("B-", "I-")) for name in typed):
            got = f"{quoted(others[0])} beside {quoted(typed[0])}"
            raise refusal(
                DataError, f"source {place(others[0])}", "O, or a letter and a type such as B-NP", got
            )
        return False
    letters = {name for name in names if name not in typed}
    bare = letters - set(OUTSIDE)
    if typed and bare:
        got = f"{quoted(min(bare))} beside {quoted(typed[0])}"
        raise refusal(DataError, f"source {place(min(bare))}", "O, or a letter and a type such as B-NP", got)
    return bool(typed) or "B" in letters or {"I", "O"} <= letters


def _place(codes: Array, begins: Array, code: int, where: Where) -> str:
    return where(*_at(int(np.argmax(codes == code)), begins))


def _at(token: int, begins: Array) -> tuple[int, int]:
    """Return (sentence, token in it)."""
    sentence = int(np.searchsorted(begins, token, "right")) - 1
    return sentence, token - int(begins[sentence])


def _shown(wrong: Array, names: Sequence[str], codes: Array, begins: Array, where: Where) -> str:
    border = int(np.argmax(wrong))
    sentence = int(np.searchsorted(begins[:-1] + np.arange(len(begins) - 1), border, "right")) - 1
    token = border - sentence  # borders: one more than tokens in each sentence
    if token == int(begins[sentence + 1]):  # the one after the last token
        return f"{names[codes[token - 1]]} at the end, {where(*_at(token - 1, begins))}"
    what = "at the beginning" if token == begins[sentence] else f"after {names[codes[token - 1]]}"
    return f"{names[codes[token]]} {what}, {where(*_at(token, begins))}"


def coded(tags: Sequence[Sequence[str]]) -> tuple[list[str], Array, Array]:
    """Return the different tags as they come, the number of each token's tag, and where sentences begin."""
    names = list(dict.fromkeys(chain.from_iterable(tags)))
    numbers = {name: number for number, name in enumerate(names)}
    lengths = np.fromiter(map(len, tags), np.int64, len(tags))
    flat = map(numbers.__getitem__, chain.from_iterable(tags))
    codes = np.fromiter(flat, np.int64, int(lengths.sum()))
    return names, codes, np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])


def _borders(codes: Array, begins: Array, number: int) -> tuple[Array, Array]:
    """Return the tags before and after each border of tokens; `number` is start, the next one end."""
    before, after = np.insert(codes, begins[:-1], number), np.insert(codes, begins[1:], number + 1)
    return before, after


def legal(tags: Sequence[str], scheme: Scheme | None) -> npt.NDArray[np.bool_]:
    """Say which tag may follow which: [K + 2, K + 2], row before, column after; K: the start, K + 1: the end.

    Nothing precedes the start, nothing follows the end, and no sentence is empty. With None all else is
    legal. Letters that a scheme does not have are illegal everywhere. Raises ConfigError: no such scheme.
    """
    if scheme is not None and scheme not in SCHEMES:
        raise ConfigError(expected("scheme", f"{', '.join(SCHEMES)} or None", repr(scheme)))
    number = len(tags)
    allowed = np.ones((number + 2, number + 2), bool)
    if scheme is not None:
        read = [parts(tag) or ("?", "") for tag in tags] + [("O", ""), ("O", "")]
        letters = np.array([letter for letter, _ in read])
        kinds = {kind: index for index, kind in enumerate(dict.fromkeys(kind for _, kind in read))}
        kind = np.array([kinds[each] for _, each in read])
        allowed = _allowed(letters[:, None], letters[None], kind[:, None] == kind[None], scheme)
    allowed[:, number] = allowed[number + 1] = False
    allowed[number, number + 1] = False
    return allowed


def _allowed(before: Array, after: Array, alike: Array, scheme: Scheme) -> npt.NDArray[np.bool_]:
    known = "OBIES" if scheme == "BIOES" else "OBI"
    fits = np.isin(before, list(known)) & np.isin(after, list(known))
    inside = alike & np.isin(before, ["B", "I"])  # a chunk of this type that goes on, or has just ended
    if scheme == "IOB1":
        return np.asarray(fits & ((after != "B") | inside))
    if scheme == "IOB2":
        return np.asarray(fits & ((after != "I") | inside))
    opened = np.isin(before, ["B", "I"])
    return np.asarray(
        fits & np.where(opened, alike & np.isin(after, ["I", "E"]), np.isin(after, list("OBS")))
    )


def chunks(tags: Sequence[Sequence[str]]) -> tuple[Array, Array, list[str]]:
    """Return the chunks of sentences by conlleval's rules, whatever the scheme, broken or not.

    A chunk is a run of tags other than O. One begins after O, where the type changes, after E, S and at B, S.
    The letters of all spellings count; E and S, which conlleval's script of 2000 knows in part, end a chunk.
    Tags that are none of a scheme are outside.

    Returns:
        first and last token of each chunk, counted over all sentences, and its type.
    """
    names, codes, begins = coded(tags)
    if not len(codes):
        return codes, codes, []
    read = [parts(name) or ("O", "") for name in names]
    letters = np.array([letter for letter, _ in read])
    kinds = list(dict.fromkeys(kind for _, kind in read))
    kind = np.array([kinds.index(each) for _, each in read])[codes]
    inside, ending, beginning = (
        np.isin(letters, list(which))[codes] for which in ("BIES[]", ENDING, BEGINNING)
    )
    apart = np.ones(len(codes) + 1, bool)  # whether there is a border before a token
    apart[1:-1] = ~inside[:-1] | ~inside[1:] | (kind[:-1] != kind[1:]) | ending[:-1] | beginning[1:]
    apart[begins] = True
    firsts = np.flatnonzero(apart[:-1] & inside)
    lasts = np.flatnonzero(apart[1:] & inside)
    return firsts, lasts, [kinds[number] for number in kind[firsts]]


def to_bioes(tags: Sequence[Sequence[str]], scheme: Scheme | None) -> list[list[str]]:
    """Return the tags of sentences in BIOES; broken ones as conlleval reads them; plain ones as they are."""
    if scheme is None:
        return [list(each) for each in tags]
    return from_bioes(tags, "BIOES")


def from_bioes(
    tags: Sequence[Sequence[str]], scheme: Scheme | None, spelling: str = "BIES"
) -> list[list[str]]:
    """Return tags in BIOES in another scheme or spelling; the inverse of `to_bioes` where no tag is broken.

    Args:
        spelling: the letters for begin, inside, end and single, of `find_scheme`; for BIOES.
    """
    if scheme is None:
        return [list(each) for each in tags]
    begin, inside, end, single = tuple(spelling)

    def letters(length: int, touches: bool) -> str:
        if scheme == "IOB1":
            return ("B" if touches else "I") + "I" * (length - 1)
        if scheme == "IOB2":
            return "B" + "I" * (length - 1)
        return single if length == 1 else begin + inside * (length - 2) + end

    return _cut(_written(tags, letters), tags)


def in_scheme(sentences: Sentences, scheme: Scheme | None, spelling: str = "BIES") -> Sentences:
    """Return sentences with their chunks marked in a scheme, that of others, and a note that says so.

    Sentences without tags, with plain ones, or with that scheme and spelling, are returned as they are.
    """
    if scheme is None or sentences.tags is None:
        return sentences
    own = find_scheme(sentences)
    alike = own.scheme == scheme and (scheme != "BIOES" or own.spelling == spelling)
    if own.scheme is None or alike:
        return sentences
    known: dict[str, str] = {}
    written = from_bioes(to_bioes(sentences.tags, own.scheme), scheme, spelling)
    tags = tuple([tuple([known.setdefault(tag, tag) for tag in each]) for each in written])
    if tags == sentences.tags:
        return sentences
    names = [f"{each} ({letters})" if each == "BIOES" else each
             for each, letters in ((own.scheme, own.spelling), (scheme, spelling))]  # fmt: skip
    note = f"chunks are marked in {names[0]} and converted to {names[1]}"
    return replace(sentences, tags=tags, notes=(*sentences.notes, note))


def _written(tags: Sequence[Sequence[str]], letters: Callable[[int, bool], str]) -> list[str]:
    """Return all tags, a chunk's by its letters; `touches`: it follows one of its type at once."""
    firsts, lasts, kinds = chunks(tags)
    begins = {int(each) for each in np.cumsum([0, *map(len, tags)])}
    found = ["O"] * sum(map(len, tags))
    last, kind_before = -2, ""
    for first, end, kind in zip(firsts.tolist(), lasts.tolist(), kinds, strict=True):
        touches = first == last + 1 and kind == kind_before and first not in begins
        spelled = letters(end - first + 1, touches)
        found[first : end + 1] = [f"{letter}-{kind}" for letter in spelled] if kind else list(spelled)
        last, kind_before = end, kind
    return found


def _cut(flat: list[str], tags: Collection[Sequence[str]]) -> list[list[str]]:
    found, begin = [], 0
    for each in tags:
        found.append(flat[begin : begin + len(each)])
        begin += len(each)
    return found
