"""What the tests of clients share."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import pytest

# The clients warn of themselves and of one another, and warnings are errors in this suite.
QUIETLY = pytest.mark.filterwarnings("ignore")


def client(name: str) -> Any:
    """Import a client, or skip the tests of a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(name.partition(".")[0], reason=f"{name} is not installed: make test-clients")
        return importlib.import_module(name)
