"""`import unrolled` is light: no torch, no numpy work, no matplotlib."""

from __future__ import annotations

import subprocess
import sys

import pytest

import unrolled
from unrolled.errors import MissingExtraError

HELP = "import contextlib, unrolled.cli\nwith contextlib.suppress(SystemExit): unrolled.cli.main"


def loaded_after(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter holds after `code`."""
    script = f"{code}\nimport sys; print(' '.join(sorted(m for m in sys.modules if '.' not in m)))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(run.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(
    "code",
    [
        "import unrolled",
        "import unrolled.cli",
        f"{HELP}(['--help'])",
        f"{HELP}(['train', '-h'])",
    ],
)
def test_importing_or_asking_for_help_loads_no_heavy_library(code: str):
    assert not loaded_after(code) & {"torch", "numpy", "matplotlib", "rich", "safetensors"}


def test_a_missing_torch_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch):
    for name in [m for m in sys.modules if m == "torch" or m.startswith(("torch.", "unrolled.nn"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(vars(unrolled), "nn", raising=False)
    with pytest.raises(
        MissingExtraError, match=r"unrolled\.nn: needs torch.*pip install 'unrolled\[train\]'"
    ):
        _ = unrolled.nn


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = unrolled.nonsense
