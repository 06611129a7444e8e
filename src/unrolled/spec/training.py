"""How a model is trained. `None` means: by the sizing rule (of the task)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unrolled.errors import ConfigError, expected
from unrolled.spec.cells import CELLS
from unrolled.spec.fields import check, setting
from unrolled.spec.model import STARTS, check_cell
from unrolled.spec.tasks import kind_of

__all__ = ["TrainConfig"]


@dataclass(frozen=True)
class TrainConfig:
    """What `unrolled train` does; `train.run(TrainConfig(DataConfig("book.txt"), minutes=3))`."""

    data: Any  # the data config of a registered task: a DataConfig for a language model
    run: str | None = setting(None, "run directory; default runs/<name of the source>", flag="--run")
    overwrite: bool = setting(False, "replace the run that the directory holds", flag="--overwrite")
    resume: bool = setting(
        False,
        "go on with the run that the directory holds, from its latest checkpoint, to the bit as if it had "
        "never stopped; without one it starts. What is not given follows the run; of what is given only "
        "--save-every, --keep, --tensorboard, --telemetry and --threads (other bits then) may differ from it",
        flag="--resume",
    )
    minutes: float | None = setting(
        None, "time budget; a calibration turns it into steps", flag="--minutes", above=0, maximum=100_000
    )
    epochs: int | None = setting(
        None, "passes over the training part", flag="--epochs", minimum=1, maximum=100_000
    )
    steps: int | None = setting(None, "optimizer steps", flag="--steps", minimum=1, maximum=10**9)
    cell: str = setting("lstm", "recurrent unit", flag="--cell", choices=CELLS)
    nonlinearity: str = setting("tanh", "of --cell rnn", flag="--nonlinearity", choices=("tanh", "relu"))
    hidden_size: int | None = setting(None, "units a layer", flag="--hidden", minimum=1, maximum=65536)
    num_layers: int | None = setting(None, "recurrent layers", flag="--layers", minimum=1, maximum=1024)
    embedding_size: int | None = setting(
        None, "width of a symbol's vector; default: hidden size", flag="--embedding", minimum=1, maximum=65536
    )
    dropout: float | None = setting(
        None, "share of activations dropped while training", flag="--dropout", minimum=0, below=1
    )
    tie_weights: bool = setting(False, "read-out shares the embedding's weights", flag="--tie")
    chrono_steps: int | None = setting(
        None,
        "start gates for lags up to T steps (chrono initialisation, Tallec & Ollivier 2018)",
        flag="--chrono",
        minimum=2,
    )
    start: str = setting(
        "orthogonal",
        "of the recurrent weights; orthogonal (Saxe et al. 2014; the identity for relu, Le et al. 2015) "
        "keeps norms, uniform is torch.nn's",
        flag="--start",
        choices=STARTS,
    )
    forget_bias: float = setting(
        1.0,
        "that an LSTM starts with (Gers et al. 2000): higher keeps longer",
        flag="--forget-bias",
        minimum=-20,
        maximum=20,
    )
    bptt_steps: int | None = setting(
        None, "truncated-BPTT window of a stream, in tokens", flag="--bptt", minimum=1, maximum=1_000_000
    )
    restart_share: float = setting(
        0.02,
        "share of a stream's rows that start a window from the zero state, so that the network learns to",
        flag="--restart",
        minimum=0,
        maximum=1,
    )
    batch_size: int | None = setting(None, "rows a step", flag="--batch", minimum=1, maximum=1_000_000)
    learning_rate: float | None = setting(None, "peak of the schedule", flag="--lr", above=0)
    weight_decay: float = setting(0.01, "AdamW, on matrices only", flag="--weight-decay", minimum=0)
    clip_norm: float = setting(1.0, "largest global norm of a gradient", flag="--clip", above=0)
    dtype: str = setting(
        "auto",
        "of the matrix products; auto: bfloat16 where the processor multiplies it natively, else float32; "
        "float32 with the native backend",
        flag="--dtype",
        choices=("auto", "float32", "bfloat16"),
    )
    backend: str = setting(
        "auto", "of the recurrent layers", flag="--backend", choices=("auto", "reference", "native", "torch")
    )
    threads: int | None = setting(None, "torch threads; default: torch's own", flag="--threads", minimum=1,
                                  maximum=1024)  # fmt: skip
    seed: int = setting(0, "of weights, order, dropout and samples", flag="--seed", minimum=0,
                        maximum=2**32 - 1)  # fmt: skip
    save_every: int | None = setting(
        None,
        "steps between checkpoints and validations; default: ten a run, fewer in a short one",
        flag="--save-every",
        minimum=1,
    )
    keep: int = setting(3, "newest checkpoints that stay, beside the best", flag="--keep", minimum=1)
    tensorboard: bool = setting(
        False, "also log to RUN/tensorboard, for TensorBoard (extra: tensorboard)", flag="--tensorboard"
    )
    telemetry_every: int = setting(
        0,
        "log the gradient's norm by lag, and how far gates stand open, every N steps, 100 without a number, "
        "0 never: into metrics.jsonl, telemetry.png, and TensorBoard where on",
        flag="--telemetry",
        minimum=0,
        bare=100,
    )

    def __post_init__(self) -> None:
        kind_of(self.data)
        check(self)
        budgets = [name for name in ("minutes", "epochs", "steps") if getattr(self, name) is not None]
        if self.resume and self.overwrite:
            raise ConfigError(expected("resume", "no overwrite beside it", "both"))
        if len(budgets) > 1:
            raise ConfigError(expected("budget", "one of minutes, epochs, steps", " and ".join(budgets)))
        if (
            not self.resume
        ):  # what is not given follows the run then: it may be of another cell than the default
            self._check_pairs()

    def _check_pairs(self) -> None:
        check_cell(self.cell, self.nonlinearity, self.forget_bias, self.chrono_steps)
        widths = {self.embedding_size, self.hidden_size} - {None}
        if self.tie_weights and len(widths) > 1:
            raise ConfigError(
                expected("tie_weights", f"embedding_size {self.hidden_size}", self.embedding_size)
            )
