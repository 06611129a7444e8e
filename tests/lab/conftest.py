"""A lab with one experiment that trains nothing."""

from __future__ import annotations

import pytest
from lab_fake import Fake


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Put the fake in the place of all experiments."""
    experiment = Fake()
    monkeypatch.setattr("unrolled.lab.registry.EXPERIMENTS", (experiment,))
    monkeypatch.setattr("unrolled.lab.report.EXPERIMENTS", (experiment,))
    return experiment
