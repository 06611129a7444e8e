"""Pictures of a ninth of the pixels: nothing that is asked of them hangs on how many there are."""

import pytest


@pytest.fixture(autouse=True)
def coarse(monkeypatch):
    from unrolled.figures import canvas

    monkeypatch.setattr(canvas, "DPI", 50)
