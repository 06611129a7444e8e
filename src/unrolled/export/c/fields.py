"""The members of a stream's state in C, and what stands around a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

__all__ = ["Field", "Reader"]


@dataclass(frozen=True)
class Field:
    """A member of the state: an array of so many numbers, or one number."""

    type: str  # double, float, uint32_t, int32_t or int8_t
    name: str
    count: int  # 0: one number, and no array
    saved: bool
    words: str

    @property
    def nbytes(self) -> int:
        return {"double": 8, "int8_t": 1}.get(self.type, 4) * max(1, self.count)


class Reader(Protocol):
    """The C code around a network."""

    standardises: bool  # whether what it makes of a step lies in the state's `row`
    parameters: str  # of model_step, between the state and the answer
    given: str  # the same as arguments
    answer_type: str
    answers: int  # numbers of an answer
    outputs: int  # of the network

    def header(self) -> str: ...  # macros and declarations of data
    def functions(self) -> str: ...  # declarations of functions of its own
    def tables(self) -> str: ...  # constants, without the prefix applied
    def names(self, prefix: str) -> str: ...  # tables of names, with it
    def fields(self) -> list[Field]: ...
    def read(self) -> str: ...  # C statements: from the parameters to the network's input, or a return
    def after(self) -> str: ...  # C statements: once the network has run
    def finish(self) -> str: ...  # the function model_answer(const state, float *raw, answer)
