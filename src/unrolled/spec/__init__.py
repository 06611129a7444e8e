"""What a model, its data and its training are: frozen dataclasses that every other room reads."""

from unrolled.spec.cells import CELLS, CLOSED, OPEN, Cell, cell_of_mode, register_cell

# For other rooms of the package; not public.
from unrolled.spec.data import LARGEST_BPE as LARGEST_BPE
from unrolled.spec.data import SMALLEST_BPE as SMALLEST_BPE
from unrolled.spec.data import DataConfig
from unrolled.spec.data import bpe_size as bpe_size
from unrolled.spec.fields import Setting, from_json, setting_of, settings, to_json
from unrolled.spec.fields import check as check
from unrolled.spec.fields import setting as setting
from unrolled.spec.lab import LabConfig
from unrolled.spec.model import LANGUAGE as LANGUAGE
from unrolled.spec.model import STARTS as STARTS
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
