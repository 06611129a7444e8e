"""A lab with one experiment that trains nothing."""

from __future__ import annotations

import sys

import pytest
from lab_fake import Fake

import unrolled.lab  # noqa: F401


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put the fake in the place of all experiments."""
    fake = Fake()
    monkeypatch.setattr(sys.modules["unrolled.lab.run"], "EXPERIMENTS", (fake.experiment,))
    return fake
