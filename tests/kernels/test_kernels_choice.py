"""Which instruction set the engine takes, and what it says where there are no kernels."""

from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from unrolled import kernels
from unrolled.errors import BackendError

ENGINE = "unrolled.kernels._engine"


def test_the_sets_of_this_machine_are_known_ones_in_rising_order():
    places = [kernels.ISAS.index(name) for name in kernels.isas()]
    assert places == sorted(set(places))
    assert kernels.available() == bool(places)
    assert not kernels.available() or kernels.isas()[0] == "baseline"


@pytest.mark.skipif(not kernels.available(), reason="this install holds no kernels")
class TestWithKernels:
    @pytest.mark.parametrize("empty", [None, ""])
    def test_the_fastest_is_taken_unless_the_environment_says_otherwise(
        self, empty: str | None, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.delenv("UNROLLED_ISA", raising=False)
        if empty is not None:
            monkeypatch.setenv("UNROLLED_ISA", empty)
        assert kernels.isa() == kernels.isas()[-1]

    @pytest.mark.parametrize("name", kernels.isas())
    def test_the_environment_is_read_on_every_call(self, name: str, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setenv("UNROLLED_ISA", name)
        assert kernels.isa() == name

    @pytest.mark.parametrize("name", ["AVX2", "sse", "avx512 "])
    def test_an_unknown_name_is_an_error_that_lists_the_known(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setenv("UNROLLED_ISA", name)
        with pytest.raises(BackendError) as error:
            kernels.isa()
        known = ", ".join(kernels.isas())
        assert str(error.value) == f"UNROLLED_ISA: expected one that runs here: {known}, got {name!r}"

    def test_a_known_name_that_does_not_run_here_is_an_error(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(kernels, "_runs", ("baseline", "avx2"))
        monkeypatch.setenv("UNROLLED_ISA", "avx512")
        with pytest.raises(BackendError, match="one that runs here: baseline, avx2, got 'avx512'"):
            kernels.isa()

    def test_there_is_nothing_to_say_against_it(self):
        assert kernels.why_not() is None


def reloaded(monkeypatch: pytest.MonkeyPatch, error: ImportError) -> ModuleType:
    """Return the room as it is where importing the compiled module raises `error`."""
    real: Callable[..., Any] = builtins.__import__

    def refusing(name: str, *rest: Any, **more: Any) -> Any:
        if name == ENGINE:
            raise error
        return real(name, *rest, **more)

    monkeypatch.delitem(sys.modules, "unrolled.kernels")
    monkeypatch.delitem(sys.modules, ENGINE, raising=False)
    monkeypatch.setattr(sys.modules["unrolled"], "kernels", kernels)  # put back after the test
    monkeypatch.setattr(builtins, "__import__", refusing)
    return importlib.import_module("unrolled.kernels")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ModuleNotFoundError(f"No module named '{ENGINE}'"),
            "this install holds no compiled kernels: no C++ compiler was found, or the build failed; reinstall "
            "unrolled with g++ 9, clang 10 or newer on the PATH (pip install -v shows the build)",
        ),
        (
            ImportError("libstdc++.so.6:\nversion `GLIBCXX_3.4.30' not found"),
            "the compiled kernels do not load (libstdc++.so.6: version `GLIBCXX_3.4.30' not found); "
            "reinstall unrolled here",
        ),
    ],
    ids=["not built", "not loadable"],
)
def test_without_kernels_the_room_imports_and_says_why(
    error: ImportError, line: str, monkeypatch: pytest.MonkeyPatch
):
    room = reloaded(monkeypatch, error)
    assert not room.available()
    assert room.why_not() == line
    assert room.isas() == ()
    assert room.kept_size("lstm", 1, 1, 5) == 96
    weights = {"input_size": 1, "hidden_size": 1}
    for needs_kernels in (room.isa, lambda: room.pack("gru", (0, 0, 0, 0), **weights)):
        with pytest.raises(BackendError) as raised:
            needs_kernels()
        assert str(raised.value) == line


def test_the_widths_of_older_buffers_are_still_told():
    with pytest.warns(DeprecationWarning, match="kept_size"):
        assert [kernels.padded(hidden) for hidden in (1, 16, 17)] == [16, 16, 32]
    with pytest.warns(DeprecationWarning, match="kept_size"):
        assert [kernels.gates_width(cell, 17) for cell in ("lstm", "gru", "rnn_tanh")] == [128, 128, 0]
