"""How well a model predicts ids, by the runtime that will predict them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from unrolled.errors import DataError, NonFiniteError, expected
from unrolled.stream.answers import AnswerNetwork
from unrolled.stream.health import MOST_NORM, measured
from unrolled.stream.model import Model
from unrolled.stream.session import Session
from unrolled.stream.weights import Floats

__all__ = ["nats_of", "pieces", "score", "states_in", "states_on"]

LOOKED_AT, EVERY = 4096, 16  # of `states_on`: steps, and how many lie between two states
SEQUENCES, PARTS = 64, 4  # of `states_in`
PIECE = 4096  # steps whose logits are held at once, fewer where they are wide
WIDEST = 2**22  # of these: numbers


def score(model: Model, ids: npt.NDArray[np.integer], *, starts: Sequence[int] = ()) -> tuple[float, int]:
    """Return the summed loss in nats of predicting each id from those before it, and how many were predicted.

    Args:
        model: one that takes ids.
        ids: [N], N of at least 2.
        starts: where the state is set to zero before the step: of a document or a line.
    Raises:
        DataError: there is nothing to predict. TokenError: an id is out of range.
    """
    if len(ids) < 2:
        raise DataError(expected("text", "at least two tokens", len(ids)))
    total, session = 0.0, model.open()
    cuts = sorted({0, len(ids) - 1, *(int(start) for start in starts if 0 < start < len(ids) - 1)})
    for first, last in pairwise(cuts):
        session.reset()
        for begin, end in pieces(model, last - first):
            inputs = np.ascontiguousarray(ids[first + begin : first + end], np.int64)
            total += nats_of(session.run(inputs), ids[first + begin + 1 : first + end + 1])
    return total, len(ids) - 1


def states_on(
    model: Model, ids: npt.NDArray[np.integer], *, starts: Sequence[int] = ()
) -> dict[str, dict[str, float]]:
    """Return what the states are like while ids [N] are read: `Model.known_states`.

    Args:
        ids: of which the first 4,096 are read. starts: as `score` has them.
    Raises:
        NonFiniteError: the state runs to infinity, or too far towards it for `known_states` to hold.
    """
    session, found = model.open(), []
    cuts = {0, *range(0, min(len(ids), LOOKED_AT), EVERY), *(int(start) for start in starts)}
    begins = {int(start) for start in starts}
    for first, last in pairwise(sorted(cut for cut in cuts | {min(len(ids), LOOKED_AT)} if cut <= LOOKED_AT)):
        if first in begins:
            session.reset()
        session.run(np.ascontiguousarray(ids[first:last], np.int64))
        found.append(session.state)
    known = measured(found)
    for name, told in known.items():
        if not all(abs(value) < MOST_NORM for value in told.values()):
            raise NonFiniteError(expected(f"state {name}", f"norms below {MOST_NORM:g}", told["norm"]))
    return known


def states_in(
    network: AnswerNetwork, sequences: Iterable[npt.NDArray[Any]]
) -> dict[str, dict[str, float]] | None:
    """Return what the states are like in sequences of a task, as the network reads them; None: they grow.

    Of each of the first 64 sequences the state is taken at about four steps, the last one among them.
    """
    session, found = Session(network), []
    for each in islice(sequences, SEQUENCES):
        seen = network.seen(each)
        cuts = sorted({-(-len(seen) * part // PARTS) for part in range(PARTS + 1)})
        session.reset()
        for first, last in pairwise(cuts):
            try:
                session.run(seen[first:last])
            except NonFiniteError:
                return None
            found.append(session.state)
    known = measured(found)
    tame = all(abs(value) < MOST_NORM for told in known.values() for value in told.values())
    return known if found and tame else None


def pieces(model: Model, steps: int) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of pieces of `steps` steps whose logits are not too many to hold."""
    size = max(1, min(PIECE, WIDEST // model.output_size))
    for begin in range(0, steps, size):
        yield begin, min(begin + size, steps)


def nats_of(logits: Floats, targets: npt.NDArray[np.integer]) -> float:
    """Return the summed −log p of targets [T] under softmax(logits [T, V])."""
    values = logits.astype(np.float64)
    values -= values.max(axis=1, keepdims=True)
    chosen = values[np.arange(len(values)), targets]
    return float((np.log(np.exp(values).sum(axis=1)) - chosen).sum())
