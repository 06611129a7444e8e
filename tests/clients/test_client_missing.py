"""Without a client, the room loads, and what needs the client says so in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

from unrolled import adapters, nn
from unrolled.errors import MissingExtraError

CALLS: dict[str, tuple[Callable[[], Any], str, str]] = {  # a file: a call, the client, the extra
    "lightning": (adapters.lightning_callback, "pytorch_lightning", "lightning"),
    "sb3": (adapters.recurrent_policy, "sb3_contrib", "sb3"),
    "torchrl": (
        lambda: adapters.torchrl_module(nn.GRU(2, 3, batch_first=True), in_key="x", out_key="y"),
        "tensordict",
        "torchrl",
    ),
    "opacus": (adapters.register_opacus, "opacus", "opacus"),
}


@pytest.mark.parametrize("file", CALLS)
def test_a_missing_client_names_the_extra_to_install(file: str, monkeypatch: pytest.MonkeyPatch):
    call, client, extra = CALLS[file]
    for name in [
        each for each in sys.modules if each.startswith((f"{client}.", f"unrolled.adapters.{file}"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    for name in (client, "lightning.pytorch", "lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    want = rf"^unrolled\.adapters: needs {client}, which is not installed; pip install 'unrolled\[{extra}\]'$"
    with pytest.raises(MissingExtraError, match=want):
        call()
