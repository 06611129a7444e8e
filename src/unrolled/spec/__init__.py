"""What a model, its data and its training are: frozen dataclasses that every other room reads."""

from unrolled.spec.cells import CELLS, CLOSED, OPEN, Cell, cell_of_mode, register_cell
from unrolled.spec.data import DataConfig
from unrolled.spec.fields import Setting, from_json, setting_of, settings, to_json
from unrolled.spec.lab import LabConfig
from unrolled.spec.model import ModelConfig
from unrolled.spec.rundir import RunDirectory, register_picture
from unrolled.spec.tasks import TASKS, TaskKind, kind_named, kind_of, kind_of_stored, register_task, tensors
from unrolled.spec.training import TrainConfig

__all__ = [
    "CELLS",
    "CLOSED",
    "OPEN",
    "TASKS",
    "Cell",
    "DataConfig",
    "LabConfig",
    "ModelConfig",
    "RunDirectory",
    "Setting",
    "TaskKind",
    "TrainConfig",
    "cell_of_mode",
    "from_json",
    "kind_named",
    "kind_of",
    "kind_of_stored",
    "register_cell",
    "register_picture",
    "register_task",
    "setting_of",
    "settings",
    "tensors",
    "to_json",
]
