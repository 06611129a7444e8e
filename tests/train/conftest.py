"""Small runs that the tests of this room share."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from unrolled.spec import DataConfig, TrainConfig

TEXT = "the quick brown fox jumps over the lazy dog\n\npack my box with five dozen liquor jugs\n" * 40


@pytest.fixture
def whole_report() -> None:
    """Asked for by tests that look at a run's pictures and samples."""


@pytest.fixture(autouse=True)
def _report(request: pytest.FixtureRequest, brief: Callable[..., Any]) -> Iterator[None]:
    with contextlib.nullcontext() if "whole_report" in request.fixturenames else brief():
        yield


@pytest.fixture
def book(tmp_path: Path) -> Path:
    path = tmp_path / "book.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def small(tmp_path: Path, book: Path) -> Callable[..., TrainConfig]:
    """Return a maker of configs for runs that take a second."""

    def make(**changes: Any) -> TrainConfig:
        data = {"source": str(book), "shape": changes.pop("shape", "stream")}
        sizes = {
            "hidden_size": 12,
            "num_layers": 1,
            "batch_size": 4,
            "bptt_steps": 16,
            "steps": 6,
            "dropout": 0.0,
        }
        if data["shape"] == "lines":
            del sizes["bptt_steps"]
        sizes |= {"run": str(tmp_path / "run"), "dtype": "float32"}
        return TrainConfig(DataConfig(**data), **{**sizes, **changes})  # type: ignore[arg-type]

    return make
