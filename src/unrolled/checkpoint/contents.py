"""What a checkpoint holds, and whether its parts fit one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled.checkpoint.format import CONFIG, MODEL, OPTIMIZER, PROGRESS, SECTIONS, TOKENS, refusal
from unrolled.checkpoint.tensors import Declared, Form, Tensor
from unrolled.errors import ConfigError
from unrolled.files import quoted
from unrolled.spec import STORAGES, from_json, kind_of, kind_of_stored, tensors

__all__ = [
    "Contents",
    "check_contents",
    "check_state",
    "check_step",
    "check_vocabulary",
    "declared_model",
    "declared_optimizer",
    "model_config",
    "weights_dtype",
]

MOMENTS = ("exp_avg", "exp_avg_sq")  # of AdamW, in torch's words
SCORES = ("float32_nats_per_token", "nats_per_token", "scored_tokens")  # that `unrolled quantize` found
CARRIED = ("float32", "bfloat16")  # of a state


@dataclass(frozen=True)
class Contents:
    """A network with what belongs to it, outside of any framework.

    Dictionaries cross as JSON: keys are texts, and values hold no NaN, infinity or bytes.
    """

    config: dict[str, Any]  # {"task"?: "language", "model": {...}, "data"?: {...}, …}: format.SECTIONS
    model: dict[str, Tensor]  # exactly `spec.tensors` of config["model"], in the dtype of config["weights"]
    tokens: dict[str, Any] | None  # what the tokens room wrote, not interpreted here; None: no vocabulary
    optimizer: dict[str, Tensor] | None = None  # see `declared_optimizer`
    progress: dict[str, Any] | None = None  # the position of the run; its "step", if any, is the checkpoint's
    path: Path | None = None  # the directory that was read
    step: int | None = None  # optimizer steps behind the weights


def model_config(config: Mapping[str, Any], where: object = CONFIG) -> Any:
    """Return the architecture that a config.json describes, strictly: a model config of its task's kind.

    Raises:
        CheckpointError: the task is not registered, a section is unknown, or "model" is missing or not legal.
    """
    for name, section in config.items():
        if name != "task" and (name not in SECTIONS or not isinstance(section, dict)):
            raise refusal(where, "objects named " + ", ".join(SECTIONS), quoted(name))
    if "model" not in config:
        raise refusal(where, 'an object named "model"', "none")
    try:
        return from_json(kind_of_stored(config).model, config["model"], where="model")
    except ConfigError as error:
        raise refusal(where, "a legal model", error) from error


def weights_dtype(config: Mapping[str, Any], where: object = CONFIG) -> str:
    """Return the type of the matrices of a stored network, one of spec.STORAGES.

    Raises:
        CheckpointError: the section is not {"dtype": one of these}, perhaps with SCORES.
    """
    section = config.get("weights", {"dtype": "float32"})
    dtype = section.get("dtype")
    if not {"dtype", *SCORES} >= set(section) or dtype not in STORAGES:
        raise refusal(where, f'"weights" of a "dtype" {", ".join(STORAGES)}', quoted(str(dtype)))
    if not all(type(section[name]) in (int, float) for name in SCORES if name in section):
        raise refusal(where, f'"weights" with numbers for {", ".join(SCORES)}', "something else")
    return str(dtype)


def declared_model(config: object, weights: str = "float32") -> Declared:
    """Return what model.safetensors holds: all of it, always."""
    return {name: Form((dtype,), shape) for name, (dtype, shape) in tensors(config, weights).items()}


def declared_optimizer(config: object) -> Declared:
    """Return what optimizer.safetensors may hold.

    AdamW's moments of each tensor ("exp_avg.<name>" and "exp_avg_sq.<name>" in its shape, "step.<name>" a
    scalar float32), and where the state is carried "state.<name>" of each, by `TaskKind.states`.
    """
    weights = declared_model(config)
    declared = {f"{moment}.{name}": form for moment in MOMENTS for name, form in weights.items()}
    declared |= {f"step.{name}": Form(("float32",), ()) for name in weights}
    carried = kind_of(config).states(config)
    return declared | {f"state.{name}": Form(CARRIED, shape) for name, shape in carried.items()}


def check_contents(contents: Contents) -> None:
    """Refuse to write what `read` would refuse to read.

    Raises:
        CheckpointError: the config is not legal, or a tensor is missing, unknown, or of another form.
    """
    config = model_config(contents.config)
    check_vocabulary(config, present=contents.tokens is not None)
    declared = declared_model(config, weights_dtype(contents.config))
    _check_tensors(contents.model, declared, MODEL, complete=True)
    _check_tensors(contents.optimizer or {}, declared_optimizer(config), OPTIMIZER, complete=False)
    check_state(contents.optimizer or {}, config)


def check_vocabulary(config: object, *, present: bool, where: object = TOKENS) -> None:
    """Refuse a missing vocabulary, and one of a network that has none."""
    kind = kind_of(config)
    if present != kind.has_vocabulary(config):
        want, got = ("none", "a vocabulary") if present else ("a vocabulary", "none")
        raise refusal(where, f"{want}, as the task {kind.name} has", got)


def check_state(optimizer: Mapping[str, Tensor], config: object, where: object = OPTIMIZER) -> None:
    """Refuse part of a carried state, or parts that disagree in dtype or rows."""
    states = kind_of(config).states(config)
    parts = [(optimizer.get(f"state.{name}"), shape) for name, shape in states.items()]
    forms = {part and (part.dtype, _rows(part, shape)) for part, shape in parts}
    if len(forms) > 1:
        names = " and ".join(f"state.{name}" for name in states)
        raise refusal(where, f"{names} of one dtype and number of rows, or none of them", forms)


def _rows(tensor: Tensor, shape: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(size for size, declared in zip(tensor.shape, shape, strict=True) if declared is None)


def check_step(progress: Mapping[str, Any], step: int | None, where: object = PROGRESS) -> None:
    """Refuse a progress that names another step than its checkpoint."""
    stored = progress.get("step", step)
    if type(stored) is not type(step) or stored != step:
        raise refusal(where, f"step {step}", stored)


def _check_tensors(found: Mapping[str, Tensor], declared: Declared, where: str, *, complete: bool) -> None:
    for name, tensor in found.items():
        if name not in declared:
            raise refusal(where, "tensors that belong to the config", f"unknown tensor {quoted(name)}")
        if not declared[name].fits(tensor.dtype, tensor.shape):
            raise refusal(f"{where} {name}", declared[name], f"{tensor.dtype} {list(tensor.shape)}")
    if complete and len(found) < len(declared):
        missing = next(name for name in declared if name not in found)
        raise refusal(where, f"tensor {missing!r}", "none of that name")
