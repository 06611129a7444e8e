"""What a model, its data and each command do: frozen dataclasses that every other room reads.

`setting` declares a field once: its default, bounds, help text and flag; `check` compares a config with them.
The other names are layouts that rooms share: `Cell` and `tensors`.
"""

from unrolled.spec.cells import CELLS, CLOSED, OPEN, Cell, cell_of_mode, register_cell
from unrolled.spec.cells import normalised as normalised
from unrolled.spec.classify import CLASSIFY as CLASSIFY  # for other rooms of the package; not public
from unrolled.spec.classify import POOLINGS as POOLINGS
from unrolled.spec.classify import REGRESS as REGRESS
from unrolled.spec.classify import STEP as STEP
from unrolled.spec.classify import ClassifyData, ClassifyModel, RegressData, RegressModel
from unrolled.spec.data import LARGEST_BPE as LARGEST_BPE
from unrolled.spec.data import SMALLEST_BPE as SMALLEST_BPE
from unrolled.spec.data import DataConfig
from unrolled.spec.data import bpe_size as bpe_size
from unrolled.spec.fields import (
    Setting,
    check,
    current_names,
    from_json,
    setting,
    setting_of,
    settings,
    to_json,
)
from unrolled.spec.forecast import DISTRIBUTIONS as DISTRIBUTIONS
from unrolled.spec.forecast import FORECAST as FORECAST
from unrolled.spec.forecast import ForecastData, ForecastModel
from unrolled.spec.forecast import names_in as names_in
from unrolled.spec.lab import LabConfig
from unrolled.spec.launch import Launch as Launch
from unrolled.spec.model import INITS, ModelConfig
from unrolled.spec.model import LANGUAGE as LANGUAGE
from unrolled.spec.rundir import RunDirectory, register_picture
from unrolled.spec.sweep import MOST_TRIALS as MOST_TRIALS
from unrolled.spec.sweep import OF_THE_SWEEP as OF_THE_SWEEP
from unrolled.spec.sweep import Range, SweepConfig
from unrolled.spec.sweep import SweepCall as SweepCall
from unrolled.spec.sweep import command_words as command_words
from unrolled.spec.sweep import read_words as read_words
from unrolled.spec.sweep import word_of as word_of
from unrolled.spec.tag import AFFIXES as AFFIXES
from unrolled.spec.tag import TAG as TAG
from unrolled.spec.tag import TagData, TagModel
from unrolled.spec.tasks import (
    STORAGES,
    TASKS,
    Steps,
    TaskKind,
    kind_named,
    kind_of,
    kind_of_stored,
    register_task,
    tensors,
)
from unrolled.spec.tasks import check_streams as check_streams
from unrolled.spec.tasks import naming_flag as naming_flag
from unrolled.spec.tasks import provide_trainer as provide_trainer
from unrolled.spec.tasks import trainer as trainer
from unrolled.spec.trained import EXPORTS as EXPORTS
from unrolled.spec.trained import (
    EvalConfig,
    ExportConfig,
    PredictConfig,
    ProbeConfig,
    QuantizeConfig,
    SampleConfig,
    StreamConfig,
)
from unrolled.spec.training import TrainCall as TrainCall
from unrolled.spec.training import TrainConfig

__all__ = [
    "CELLS",
    "CLOSED",
    "INITS",
    "OPEN",
    "STORAGES",
    "TASKS",
    "Cell",
    "ClassifyData",
    "ClassifyModel",
    "DataConfig",
    "EvalConfig",
    "ExportConfig",
    "ForecastData",
    "ForecastModel",
    "LabConfig",
    "ModelConfig",
    "PredictConfig",
    "ProbeConfig",
    "QuantizeConfig",
    "Range",
    "RegressData",
    "RegressModel",
    "RunDirectory",
    "SampleConfig",
    "Setting",
    "Steps",
    "StreamConfig",
    "SweepConfig",
    "TagData",
    "TagModel",
    "TaskKind",
    "TrainConfig",
    "cell_of_mode",
    "check",
    "current_names",
    "from_json",
    "kind_named",
    "kind_of",
    "kind_of_stored",
    "register_cell",
    "register_picture",
    "register_task",
    "setting",
    "setting_of",
    "settings",
    "tensors",
    "to_json",
]
