"""A trained run that the tests of the command line share, and only read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_cases import SMALL, TEXT

from unrolled.cli import main


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, brief: Callable[[], Any]) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "book.txt").write_text(TEXT)
    with brief():
        assert main(["train", str(folder / "book.txt"), "--run", str(folder / "run"), *SMALL]) == 0
    return folder / "run"
