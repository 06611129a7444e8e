"""What each column of a table is: label, group, id, time, or an input; named, or found by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from unrolled.data.labelled.source import Asked, named
from unrolled.data.labelled.table import NAMELESS, ONE_HOT, Table
from unrolled.errors import DataError
from unrolled.files import quoted, refusal

__all__ = ["IDS", "TEXTS", "TIMES", "Roles", "called", "counts_rows", "roles_of", "usual_labels"]

LABELS = ("label", "labels", "class")
OFTEN_LABELS = ("target", "category", "y")  # y may be a coordinate
IDS = ("id", "unique_id", "series_id", "sample_id", "sample", "case_id", "case", "item_id", "unit", "uid")
TIMES = ("time", "timestamp", "datetime", "date", "ds", "t", "step", "order", "cycle", "index")
GROUPS = ("group", "subject", "person", "patient", "participant", "user", "speaker")
TEXTS = ("text", "sentence", "string", "document", "review", "name")
FEW = 0.5  # different labels, as a share of the rows, at most


@dataclass
class Roles:
    """Names of columns. There is an `id` exactly where several rows are one sample."""

    label: str | None = None
    as_numbers: bool = False  # the label was asked for as a target
    several: tuple[str, ...] = ()  # instead of it: labels or targets side by side
    group: str | None = None
    id: str | None = None
    row_id: str | None = None  # names each row, where a row is a sample
    time: str | None = None
    text: str | None = None  # the column of texts, where samples are texts
    inputs: tuple[str, ...] = ()  # columns of numbers
    static: tuple[str, ...] = ()  # further ones, with one value for each sample
    notes: list[str] = field(default_factory=list)


def roles_of(table: Table, asked: Asked) -> Roles:
    """Return what each column of a table is. Raises DataError: one is not there, or it is not clear."""
    roles = Roles(
        static=asked.static,
        group=asked.group,
        time=asked.time,
        as_numbers=asked.target is not None or asked.as_numbers,
    )
    _check_names(table, asked)
    if asked.group not in table.names:
        roles.group = None  # of an unlabelled table
    free = [name for name in table.names if name not in _asked_names(asked)]
    counts = [name for name in free if counts_rows(table, name)] if asked.columns is None else []
    if counts:
        roles.notes.append(f"left out: {named(counts)}, which numbers the rows")
        free = [name for name in free if name not in counts]
    _find_ids(table, asked, roles, free)
    taken = {roles.id, roles.row_id, roles.time}
    free = [name for name in free if name not in taken]
    if asked.several:
        roles.several = asked.several if set(asked.several) <= set(table.names) else ()
    else:
        roles.label = _label(table, asked, roles, free)
    free = [name for name in free if name != roles.label]
    _find_inputs(table, asked, roles, free)
    return roles


def _asked_names(asked: Asked) -> list[str]:
    names = (asked.label, asked.target, asked.group, asked.id, asked.time)
    return [name for name in names if name is not None] + [*asked.several, *asked.static]


def _check_names(table: Table, asked: Asked) -> None:
    optional = set() if asked.labelled else {asked.label, asked.target, asked.group, *asked.several}
    roles = {role: getattr(asked, role) for role in ("label", "target", "group", "id", "time")}
    several = "target" if asked.as_numbers else "label"
    named_ones = [(several, name) for name in asked.several] + [("static", name) for name in asked.static]
    named_ones += [("columns", name) for name in asked.columns or ()]
    for role, name in [*roles.items(), *named_ones]:
        if name is not None and name not in table.names and name not in optional:
            want = f"a column of the table: {named(table.names, 8)}"
            raise refusal(DataError, role, want, repr(name))
    names = [*_asked_names(asked), *(asked.columns or ())]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        given = [role for role, name in roles.items() if name == twice[0]]
        given += [several] * asked.several.count(twice[0]) + ["static"] * asked.static.count(twice[0])
        given += ["columns"] if twice[0] in (asked.columns or ()) else []
        raise refusal(DataError, " and ".join(given), "different columns", repr(twice[0]))


def called(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Return those of the names that are among the known ones, in the order of these."""
    return [name for word in known for name in names if name.lower() == word]


def counts_rows(table: Table, name: str) -> bool:
    """Whether a column counts the rows, and has no name or is called so: the index of a saved data frame."""
    word = name.lower()
    if not table.header or not (word == "index" or word.startswith((NAMELESS, "unnamed:"))):
        return False
    if not table.is_number(name) or table.rows < 2:
        return False
    steps = np.diff(table.numbers(name))
    return bool((steps == 1).all())


def usual_labels(names: Sequence[str]) -> list[str]:
    """Return the names that a column of labels usually has."""
    often = [word for word in OFTEN_LABELS if word != "y" or not called(names, ("x",))]
    return called(names, LABELS) or called(names, often)


def _find_ids(table: Table, asked: Asked, roles: Roles, free: Sequence[str]) -> None:
    """Find the column whose equal values make one sample of several rows, and that of the time."""
    candidates = [asked.id] if asked.id is not None else called(free, IDS) if table.header else []
    for name in candidates:
        values = table.texts(name)
        if len(set(values)) < len(values) or (asked.id is not None and asked.time is not None):
            roles.id = name
            break
        roles.row_id = roles.row_id or name
    if roles.id is not None:
        roles.row_id = None
        if asked.id is None:
            roles.notes.append(f"rows with the same {quoted(roles.id)} are one sample")
    if roles.time is None and table.header and asked.columns is None:
        found = called(free, TIMES)
        roles.time = found[0] if found and roles.id is not None else None
        if found and roles.id is None and not _is_text_table(table, free):
            want = "the column that says which sample a row is of, or columns= with the steps of each row"
            raise refusal(DataError, "id", want, f"none, beside times in {quoted(found[0])}")
    if asked.time is not None and roles.id is None:
        want = "the column that says which sample a row is of, as there are times"
        raise refusal(
            DataError, "id", want, "none" if asked.id is None else f"a value for each row in {asked.id!r}"
        )


def _is_text_table(table: Table, free: Sequence[str]) -> bool:
    return bool(called(free, TEXTS)) or not any(table.is_number(name) for name in free)


def _label(table: Table, asked: Asked, roles: Roles, free: Sequence[str]) -> str | None:
    """Return the column of labels, by its name, or as the only one that can be it."""
    name = asked.label if asked.label is not None else asked.target
    if name is not None:
        return name if name in table.names else None
    usual = usual_labels(free) if table.header else []
    if len(usual) == 1:
        return usual[0]
    candidates = usual or _repeating_texts(table, free)
    texts = called(candidates, TEXTS)
    candidates = candidates if len(texts) == len(candidates) else [c for c in candidates if c not in texts]
    if not table.header and not candidates and _repeats(table, free[0]) and len(free) > 1:
        candidates = [free[0]]  # as in the UCR archive
    if len(candidates) == 1:
        roles.notes.append(f"labels are read from column {quoted(candidates[0])}")
        return candidates[0]
    if not asked.labelled:
        return None
    some = "the name of a column"
    if candidates:
        raise refusal(
            DataError, "label", some, f"none, with {len(candidates)} candidates: {named(candidates)}"
        )
    raise refusal(DataError, "label", some, f"none, and no column looks like it: {named(table.names, 8)}")


def _repeating_texts(table: Table, free: Sequence[str]) -> list[str]:
    """Return columns of texts without spaces that repeat, and may be labels."""
    texts = [name for name in free if not table.is_number(name)]
    found = []
    for name in texts:
        values = table.texts(name)
        different = set(values)
        if len(different) <= max(2, FEW * len(values)) and all(v and len(v.split()) == 1 for v in different):
            found.append(name)
    return found


def _repeats(table: Table, name: str) -> bool:
    """Whether a column holds whole numbers that repeat."""
    if not table.is_number(name):
        return False
    values = table.numbers(name)
    return bool((values == np.round(values)).all()) and len(np.unique(values)) <= max(2, FEW * len(values))


def _find_inputs(table: Table, asked: Asked, roles: Roles, free: Sequence[str]) -> None:
    """Find the columns that the network reads; what else there is, is left out and noted."""
    if asked.columns is not None:
        single = asked.columns[0]
        if len(asked.columns) == 1 and not table.is_number(single) and roles.id is None:
            roles.text = single
        else:
            roles.inputs = asked.columns
        return
    groups = called(free, GROUPS) if table.header else []
    texts = [name for name in free if not table.is_number(name) and name not in groups]
    numbers = [name for name in free if table.is_number(name) and name not in groups]
    if groups:
        roles.notes.append(
            f"left out: {named(groups)}; as the group, each of its values would stay on one side of a split"
        )
    if roles.id is None and texts and (called(texts, TEXTS) or not numbers):
        usual = called(texts, TEXTS) or texts
        if len(usual) > 1:
            got = f"none, with {len(usual)} candidates: {named(usual)}"
            raise refusal(DataError, "columns", "the column of the texts", got)
        roles.text = usual[0]
        texts, numbers = [name for name in texts if name != roles.text] + numbers, []
    if texts:
        reason = "the text" if roles.text else f"of numbers; {ONE_HOT} to use them"
        roles.notes.append(f"left out: {named(texts)}, not {reason}")
    roles.inputs = tuple(numbers)
    if roles.text is None and not roles.inputs:
        raise refusal(
            DataError, "columns", "a column of numbers or of texts", f"none beside {named(table.names, 8)}"
        )
