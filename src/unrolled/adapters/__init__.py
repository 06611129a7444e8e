"""Our layers in other people's programs, where `unrolled.accelerate` alone is not enough.

lightning.py   a callback of Lightning        sb3.py    policies of sb3-contrib's RecurrentPPO
torchrl.py     modules of TorchRL             opacus.py  layers and grad samplers of opacus

A file imports its client; the functions here import the file when they are called.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from unrolled.errors import ConfigError, MissingExtraError, expected
from unrolled.nn import Recurrent

__all__ = ["lightning_callback", "recurrent_policy", "register_opacus", "torchrl_module"]


def lightning_callback(*, gates_every: int = 0) -> Any:
    """Return a callback of Lightning that accelerates the module which is trained, and logs its gates.

    Args:
        gates_every: training steps between logs of the share of units and steps at which each gate is closed
            (below 0.1) and open (above 0.9); 0 for none. For a log 8 rows of the batch run once more.
    Returns:
        A `Callback` for `Trainer(callbacks=[...])`. Checkpoints have torch.nn's names and load without it.
    Raises:
        ConfigError: gates_every is no number of steps. MissingExtraError: Lightning is not installed.
    """
    if not isinstance(gates_every, int) or isinstance(gates_every, bool) or gates_every < 0:
        raise ConfigError(expected("gates_every", "a number of steps, 0 for none", repr(gates_every)))
    with _client("lightning"):
        from unrolled.adapters.lightning import Accelerate
    return Accelerate(gates_every)


def recurrent_policy(name: str = "MlpLstmPolicy") -> Any:
    """Return a policy of sb3-contrib's RecurrentPPO whose layers take the starts of episodes as resets.

    sb3-contrib's own policy goes step by step through every batch with the start of an episode in it, which
    is every batch of an update. Parameters, their names and the results are the same.

    Args:
        name: "MlpLstmPolicy", "CnnLstmPolicy" or "MultiInputLstmPolicy", as RecurrentPPO knows them.
    Returns:
        A class, for `RecurrentPPO(policy, env)`; what the model saves names it, and pickles nothing of ours.
    Raises:
        ConfigError: no such policy. MissingExtraError: sb3-contrib is not installed.
    """
    with _client("sb3"):
        from unrolled.adapters.sb3 import POLICIES
    if name not in POLICIES:
        raise ConfigError(expected("name", f"one of {', '.join(POLICIES)}", repr(name)))
    return POLICIES[name]


def torchrl_module(layer: Recurrent, *, in_key: str, out_key: str, **options: Any) -> Any:
    """Return TorchRL's LSTMModule or GRUModule of a layer, which takes `is_init` as resets.

    In recurrent mode TorchRL's own module cuts a batch at every `is_init`, pads the pieces and joins them
    again; this one runs the batch as it is. Keys, primers and `set_recurrent_mode` are TorchRL's.

    Args:
        layer: an `unrolled.nn.LSTM` or `GRU` with batch_first, in one direction.
        in_key, out_key, options: as TorchRL's module takes them.
    Raises:
        ConfigError: the layer does not fit. MissingExtraError: TorchRL is not installed.
    """
    with _client("torchrl"):
        from unrolled.adapters.torchrl import module_of
    return module_of(layer, in_key=in_key, out_key=out_key, **options)


def register_opacus() -> None:
    """Let opacus train the layers of `unrolled.nn` with differential privacy.

    Afterwards `ModuleValidator.fix(model)` turns each layer into one whose per-sample gradients are exact,
    with lengths, resets and PackedSequences, and GradSampleModule and PrivacyEngine take the model. A fixed
    layer keeps torch.nn's names in its `state_dict`. To call it twice is to call it once.

    Raises:
        MissingExtraError: opacus is not installed.
    """
    with _client("opacus"):
        from unrolled.adapters.opacus import register
    register()


@contextmanager
def _client(extra: str) -> Iterator[None]:
    """Within, a library that is missing is an error that names the extra to install."""
    try:
        yield
    except ModuleNotFoundError as error:
        name = (error.name or "").partition(".")[0]
        if name == "unrolled":
            raise
        raise MissingExtraError(
            f"unrolled.adapters: needs {name}, which is not installed; pip install 'unrolled[{extra}]'"
        ) from error
