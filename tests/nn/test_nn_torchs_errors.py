"""The error cases of torch's own test suite for its recurrent modules: ours raise what torch's do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from unrolled import nn

pytest.importorskip("expecttest", reason="torch's test suite needs expecttest")

from torch.testing._internal import common_modules

KINDS = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")


def error_cases() -> Iterator[Any]:
    """Yield (class, case) for each that torch has."""
    for info in common_modules.module_db:
        if info.module_cls.__module__ == "torch.nn.modules.rnn" and info.module_cls.__name__ in KINDS:
            options = {"device": "cpu", "dtype": torch.float32, "requires_grad": False, "training": False}
            for case in info.module_error_inputs_func(info, **options):
                yield info.module_cls, case


CASES = list(error_cases())


def test_torch_has_cases_of_every_module():
    assert {kind.__name__ for kind, _ in CASES} == set(KINDS)
    assert len(CASES) >= 58  # of torch 2.13


@pytest.mark.parametrize("ours", [False, True], ids=["torch", "unrolled"])
@pytest.mark.parametrize(("kind", "case"), CASES, ids=lambda each: getattr(each, "__name__", ""))
def test_a_mistake_raises_what_torch_raises(kind, case, ours):
    given = case.module_error_input
    make = getattr(nn, kind.__name__) if ours else kind
    arguments, call = given.constructor_input, given.forward_input
    if case.error_on == common_modules.ModuleErrorEnum.CONSTRUCTION_ERROR:
        with pytest.raises(case.error_type):
            make(*arguments.args, **arguments.kwargs)
    else:
        layer = make(*arguments.args, **arguments.kwargs)
        with pytest.raises(case.error_type):
            layer(*call.args, **call.kwargs)
