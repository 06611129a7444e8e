"""Trained runs that the tests of the command line share, and only read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_cases import QUICK, SMALL, TEXT, gestures

from unrolled.cli import main


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, brief: Callable[[], Any]) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "book.txt").write_text(TEXT)
    with brief():
        assert main(["train", str(folder / "book.txt"), "--run", str(folder / "run"), *SMALL]) == 0
    return folder / "run"


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory, brief: Callable[[], Any]) -> Path:
    """A folder with a table, and a classifier and a regressor that were trained on it."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "gestures.csv").write_text(gestures())
    (folder / "new.csv").write_text(gestures(5, labelled=False))
    rows = [f"{n % 7 + 0.5},{n % 7},{n % 3},1" for n in range(20)]
    (folder / "wide.csv").write_text("\n".join(["much,a,b,c", *rows]) + "\n")
    with brief():
        for run, table, flags in (
            ("label", "gestures.csv", ["--label", "activity", "--columns", "ax,ay"]),
            ("target", "wide.csv", ["--target", "much"]),
        ):
            argv = ["train", str(folder / table), *flags, "--run", str(folder / run)]
            assert main([*argv, *QUICK]) == 0
    return folder
