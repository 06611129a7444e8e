"""A fitted estimator step by step."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from unrolled import checkpoint, stream

__all__ = ["AnswerStream"]

Array: TypeAlias = npt.NDArray[Any]


class AnswerStream:
    """One stream of a fitted classifier or regressor that reads one way; `estimator.stream()` makes it.

    Attributes:
        session: the `unrolled.stream.TaskSession` behind it.
    """

    def __init__(self, contents: checkpoint.Contents, columns: Array | None, state: bytes | None) -> None:
        """Pack the weights. `columns`: where each class of `classes_` stands among the network's."""
        model = stream.assemble(contents)
        assert isinstance(model, stream.TaskModel)  # by the kinds of the estimators
        self.session, self._columns = model.open(state), columns

    def step(self, x: Any, *, time: float | None = None) -> Any:
        """Read one step and return the answer so far.

        Args:
            x: [C] numbers, NaN or None where one is missing; of texts, a piece of one.
            time: of the step, where training had times.
        Returns:
            Calibrated probabilities [K] in the order of `classes_`, or a number in the unit of training.
            After the last step it is what `predict_proba` or `predict` gives, to the bit; of texts, `at_end`.
        Raises:
            As `unrolled.stream.TaskSession.step`; then nothing has changed.
        """
        return self._ordered(self.session.step(x, time=time))

    def at_end(self) -> Any:
        """Return the answer if the sequence ended here: of a text, after its closing boundary."""
        return self._ordered(self.session.at_end())

    def reset(self) -> None:
        """Return to before the first step."""
        self.session.reset()

    def save(self) -> bytes:
        """Return all that it remembers as bytes, for `estimator.stream(state)`."""
        return self.session.save()

    def _ordered(self, answer: Any) -> Any:
        return answer if self._columns is None else np.asarray(answer)[self._columns]
