"""Whether a run fits into the memory here, asked before anything is allocated."""

from __future__ import annotations

from unrolled.errors import ConfigError, expected
from unrolled.files import memory_limit
from unrolled.spec import TrainConfig
from unrolled.tasks import Dataset, Task

__all__ = ["check_memory"]

GIB = 2**30


def check_memory(task: Task, config: TrainConfig, dataset: Dataset) -> None:
    """Raise ConfigError when weights and one step's activations do not fit into the memory that there is."""
    model = task.model_config(config, dataset)
    have, need = memory_limit(), task.bytes_needed(model, config, dataset)
    if have is not None and need is not None and need > have:
        got = f"about {need / GIB:,.0f} GiB for {task.describe(model)}, batch {config.batch_size}"
        raise ConfigError(expected("sizes", f"a run within {have / GIB:.0f} GiB of memory", got))
