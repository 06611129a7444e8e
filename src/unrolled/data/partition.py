"""Which samples train, which validate and which test: by group, in time, or at random, class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled.data.batches import whole_number
from unrolled.data.samples import Samples
from unrolled.errors import ConfigError, DataError, counted, expected
from unrolled.files import quoted

__all__ = ["Overlap", "Partition", "overlap", "partition"]

SPLITS = ("auto", "group", "time", "random")
NAMED = 3  # names of groups or classes in a message
Indices: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Partition:
    """Indices of samples, each in one part at most, rising."""

    train: Indices
    validation: Indices
    test: Indices
    split: str  # "group", "time" or "random": what was done
    duplicates: int  # held-out samples whose input is that of a sample in an earlier part
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Overlap:
    """What two sets of samples share."""

    duplicates: int  # samples of the second whose input is that of a sample of the first
    groups: tuple[str, ...]  # on both sides


def overlap(train: Samples, other: Samples) -> Overlap:
    """Count what other samples share with those of training: equal inputs, byte for byte, and groups."""
    seen = set(train.digests())
    groups: set[str] = set()
    if train.groups is not None and other.groups is not None:
        groups = set(train.groups.tolist()) & set(other.groups.tolist())
    return Overlap(sum(each in seen for each in other.digests()), tuple(sorted(groups)))


def partition(
    samples: Samples, *, split: str = "auto", validation: float = 0.1, test: float = 0.0, seed: int = 0
) -> Partition:
    """Divide samples into those that train and those that are held out; the same for the same seed.

    Args:
        samples: at least two.
        split: "group" keeps a group on one side; "time" trains on the earliest and tests on the latest, by
            the samples' times, or by their order where there are none; "random" draws, class by class where
            labels are classes. "auto" is "group" where there are groups, else "random".
        validation, test: shares of the samples; below 1 together. A share above 0 holds at least one.
    Raises:
        ConfigError: shares out of range, an unknown split, or one that these samples cannot have.
        DataError: too few samples or groups for the parts.
    """
    _check(samples, split, validation, test)
    whole_number("seed", seed, 0)
    shares = {"validation": validation, "test": test}
    if split == "auto":
        split = "random" if samples.groups is None else "group"
    parts: dict[str, list[int]]
    if split == "group":
        parts, notes = _by_group(samples, shares, seed)
    elif split == "time":
        parts, notes = _in_time(samples, shares)
    else:
        parts, notes = _at_random(samples, shares, seed)
    train, held, tested = (
        np.array(sorted(parts[name]), np.int64) for name in ("train", "validation", "test")
    )
    notes += _unseen(samples, train)
    duplicates = _duplicates(samples, (train, held, tested))
    if duplicates:
        share = f"{duplicates} of {counted(len(held) + len(tested), 'sample')} held out"
        notes.append(
            f"{share} {'has' if duplicates == 1 else 'have'} the same input as one in an earlier part"
        )
    return Partition(train, held, tested, split, duplicates, tuple(notes))


def _check(samples: Samples, split: str, validation: float, test: float) -> None:
    if split not in SPLITS:
        raise ConfigError(expected("split", "one of " + ", ".join(SPLITS), repr(split)))
    for name, share in (("validation", validation), ("test", test)):
        if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share < 1:
            raise ConfigError(expected(name, "a share from 0 to below 1", repr(share)))
    if validation + test >= 1:
        raise ConfigError(expected("validation + test", "below 1", validation + test))
    if split == "group" and samples.groups is None:
        raise ConfigError(expected("split", "auto, time or random, as the samples have no groups", "'group'"))
    parts = 1 + (validation > 0) + (test > 0)
    if len(samples) < parts:
        raise DataError(expected("samples", f"at least {parts}, one for each part", len(samples)))


def _sizes(number: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Return how many of so many samples each part gets; at least one where its share is above 0."""
    sizes = {name: max(1, round(number * share)) if share else 0 for name, share in shares.items()}
    while sum(sizes.values()) >= number:  # few samples
        sizes[max(sizes, key=lambda name: sizes[name])] -= 1
    return sizes


def _at_random(
    samples: Samples, shares: Mapping[str, float], seed: int
) -> tuple[dict[str, list[int]], list[str]]:
    """Draw each part; class by class, so that parts have like shares of them.

    The k-th of a class of n, shuffled, stands at (k + u) / n of a line, u drawn once for each class; the test
    part is the line's beginning, then comes validation. The last one of a class stays in training.
    """
    generator = np.random.default_rng([seed, 1])
    order = generator.permutation(len(samples))
    place = np.arange(len(samples), dtype=np.float64)
    place[-1] = np.inf
    single: list[str] = []
    if samples.classes and samples.labels is not None and samples.labels.ndim == 1:
        names, codes = np.unique(samples.labels, return_inverse=True)
        for code, offset in enumerate(generator.random(len(names))):
            members = np.flatnonzero(codes[order] == code)
            place[members] = (np.arange(len(members)) + offset) / len(members)
            place[members[-1]] = np.inf
            single += [str(names[code])] if len(members) == 1 else []
    free = order[np.argsort(place, kind="stable")][: int(np.isfinite(place).sum())]
    sizes = _sizes(len(samples), shares)
    if len(free) < sum(size > 0 for size in sizes.values()):
        want = "a class with at least 2 samples, so that one can be held out"
        raise DataError(expected("labels", want, f"{counted(len(single), 'class', 'classes')} of 1"))
    while sum(sizes.values()) > len(free):
        sizes[max(sizes, key=lambda name: sizes[name])] -= 1
    return _dealt(free, sizes, len(samples)), _singles(single)


def _dealt(held_out: Sequence[int] | Indices, sizes: Mapping[str, int], number: int) -> dict[str, list[int]]:
    """Cut the test part from the beginning, validation from what follows; all else of so many trains."""
    first, last = sizes["test"], sizes["test"] + sizes["validation"]
    parts = {
        "test": [int(index) for index in held_out[:first]],
        "validation": [int(index) for index in held_out[first:last]],
    }
    taken = set(parts["test"]) | set(parts["validation"])
    return parts | {"train": [index for index in range(number) if index not in taken]}


def _singles(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    what = (
        "class has one sample, which stays" if len(names) == 1 else "classes have one sample each, which stay"
    )
    return [f"{len(names)} {what} in training: {_named(names)}"]


def _by_group(
    samples: Samples, shares: Mapping[str, float], seed: int
) -> tuple[dict[str, list[int]], list[str]]:
    """Give whole groups, the largest first, to the part that lacks most; equal ones in a drawn order."""
    assert samples.groups is not None
    names, codes, counts = np.unique(samples.groups, return_inverse=True, return_counts=True)
    sizes = {name: size for name, size in _sizes(len(samples), shares).items() if size}
    if len(names) <= len(sizes):
        parts = " and ".join(["training", *sizes])
        want = f"at least {len(sizes) + 1} groups, for {parts}"
        raise DataError(expected("group", want, counted(len(names), "group")))
    lacking = {"train": len(samples) - sum(sizes.values()), **sizes}
    order = np.random.default_rng([seed, 2]).permutation(len(names))
    order = order[np.argsort(-counts[order], kind="stable")]
    part_of = np.empty(len(names), object)
    empty = set(lacking)
    for position, group in enumerate(order):
        forced = len(names) - position == len(empty)
        part = max(empty if forced else lacking, key=lambda name: (lacking[name], name))
        part_of[group] = part
        lacking[part] -= int(counts[group])
        empty.discard(part)
    place = part_of[codes]
    found = {name: np.flatnonzero(place == name).tolist() for name in ("train", "validation", "test")}
    groups = {name: int((part_of == name).sum()) for name in lacking}
    return found, ["groups: " + ", ".join(f"{count} {_in(name)}" for name, count in groups.items())]


def _in(part: str) -> str:
    return {"train": "training", "validation": "validation", "test": "test"}[part]


def _in_time(samples: Samples, shares: Mapping[str, float]) -> tuple[dict[str, list[int]], list[str]]:
    """Train on the earliest. A sample that lasts into the next part's time is left out of both."""
    number = len(samples)
    sizes = _sizes(number, shares)
    if samples.times is None:
        order = np.arange(number)
        return _dealt(order[::-1], sizes, number), ["split in the order of the source, as no times are known"]
    begins = np.array([each[0] for each in samples.times])
    ends = np.array([each[-1] for each in samples.times])
    if begins.min() == begins.max():
        want = "group or random, as all samples start at the same time"
        raise ConfigError(expected("split", want, f"'time', with all at {begins[0]:g}"))
    order = np.argsort(begins, kind="stable")
    parts = _dealt(order[::-1], sizes, number)
    left_out = 0
    later = np.inf
    for name in ("test", "validation", "train"):
        kept = [index for index in parts[name] if ends[index] < later]
        left_out += len(parts[name]) - len(kept)
        if not kept and parts[name]:
            want = f"samples that end before the next part starts, at {later:g}"
            raise DataError(expected("time", want, f"none for {_in(name)}"))
        parts[name] = kept
        later = min(later, *(begins[index] for index in kept)) if kept else later
    last = f"{counted(left_out, 'sample')} left out, as they last into the time of the next part"
    return parts, [last] if left_out else []


def _unseen(samples: Samples, train: Indices) -> list[str]:
    """Note the classes that no training sample has."""
    if samples.labels is None or not samples.classes or samples.labels.ndim == 2:
        return []
    unseen = sorted(set(samples.classes) - set(samples.labels[train]))
    if not unseen:
        return []
    what = "class never occurs" if len(unseen) == 1 else "classes never occur"
    return [f"{len(unseen)} {what} in the training part: {_named(unseen)}"]


def _duplicates(samples: Samples, parts: Sequence[Indices]) -> int:
    """Count samples whose input an earlier part holds too."""
    digests = samples.digests() if any(len(part) for part in parts[1:]) else []
    seen: set[bytes] = set()
    found = 0
    for part in parts if digests else ():
        own = [digests[index] for index in part]
        found += sum(each in seen for each in own)
        seen |= set(own)
    return found


def _named(names: Sequence[Any]) -> str:
    shown = ", ".join(quoted(str(name)) for name in names[:NAMED])
    return shown + (", …" if len(names) > NAMED else "")
