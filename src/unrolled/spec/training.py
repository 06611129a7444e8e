"""How a model is trained. `None` means: by the sizing rule (of the task)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from unrolled.errors import ConfigError, expected
from unrolled.spec.cells import CELLS, normalised
from unrolled.spec.fields import check, setting, takes_older_names
from unrolled.spec.model import INITS, check_cell
from unrolled.spec.tasks import kind_of

__all__ = ["TrainCall", "TrainConfig"]


@dataclass(frozen=True)
class TrainCall:
    """What `unrolled train` takes beside a `TrainConfig`: another thing to do with it than one run."""

    dry_run: bool = setting(
        False,
        "say what the source is taken for, how it is divided, how large the network is and how long it "
        "takes; train nothing and write nothing",
        flag="--dry-run",
    )
    seeds: int | None = setting(
        None,
        "train N networks, with the seeds --seed, --seed + 1, …, into RUN/seed-0, RUN/seed-1, …, and print "
        "mean and spread of their figures; finished ones are kept",
        flag="--seeds",
        minimum=2,
        maximum=1000,
    )

    def __post_init__(self) -> None:
        check(self)
        if self.dry_run and self.seeds is not None:
            raise ConfigError(expected("dry_run", "no `seeds` beside it", "both"))


@takes_older_names
@dataclass(frozen=True)
class TrainConfig:
    """What `unrolled train` does; `train.run(TrainConfig(DataConfig("book.txt"), minutes=3))`."""

    data: Any  # the data config of a registered task: a DataConfig for a language model
    run: str | None = setting(
        None, "run directory; default: runs/<name of the source>", flag="--run", metavar="DIR"
    )
    overwrite: bool = setting(False, "replace the run in that directory", flag="--overwrite")
    resume: bool = setting(
        False,
        "continue the run in that directory from its latest checkpoint, bit for bit as if uninterrupted; "
        "start it if there is none. Settings that are not given are the run's own; only --save-every, "
        "--keep, --tensorboard, --telemetry, --timeout and --threads may differ from it (another number of "
        "threads, or of processes, gives other bits). More --steps, --epochs or --minutes lengthen a run "
        "that has taken all its steps",
        flag="--resume",
    )
    minutes: float | None = setting(
        None,
        "time budget; timing turns it into a number of steps, at first and anew as training goes on, so that "
        "the run keeps it on a machine whose speed changes; default, where neither "
        "--epochs nor --steps is given: by the task; for a text 3 minutes, or 40 epochs or 400 steps where "
        "it is small",
        flag="--minutes",
        above=0,
        maximum=100_000,
    )
    epochs: int | None = setting(
        None, "number of passes over the training part", flag="--epochs", minimum=1, maximum=100_000
    )
    steps: int | None = setting(None, "number of optimizer steps", flag="--steps", minimum=1, maximum=10**9)
    cell: str = setting(
        "auto",
        "kind of recurrent cell; auto: lstm for a language model, gru for other tasks",
        flag="--cell",
        choices=CELLS,
    )
    norm: str = setting(
        "none",
        "layer: layer normalisation within a step of --cell lstm or gru (Ba et al. 2016); a step then takes "
        "several times as long",
        flag="--norm",
        choices=("none", "layer"),
    )
    nonlinearity: str = setting(
        "tanh", "activation function of --cell rnn or indrnn", flag="--nonlinearity", choices=("tanh", "relu")
    )
    hidden_size: int | None = setting(
        None,
        "hidden units per layer; default: by the task and the size of the data; for a text 128, 256 or 512",
        flag="--hidden",
        minimum=1,
        maximum=65536,
    )
    num_layers: int | None = setting(
        None,
        "number of recurrent layers; default: by the same rule as --hidden",
        flag="--layers",
        minimum=1,
        maximum=1024,
    )
    embedding_size: int | None = setting(
        None,
        "size of a symbol's embedding; default: by the same rule as --hidden",
        flag="--embedding",
        minimum=1,
        maximum=65536,
    )
    dropout: float | None = setting(
        None,
        "share of activations dropped during training; default: by the same rule as --hidden",
        flag="--dropout",
        minimum=0,
        below=1,
    )
    zoneout: float = setting(
        0.0,
        "chance that a unit keeps its state at a step during training (Krueger et al. 2017); a step then "
        "takes several times as long",
        flag="--zoneout",
        minimum=0,
        below=1,
    )
    input_dropout: float = setting(
        0.0,
        "share of each layer's input dropped during training, the same at every step of a row (Gal & "
        "Ghahramani 2016)",
        flag="--input-dropout",
        minimum=0,
        below=1,
    )
    recurrent_dropout: float = setting(
        0.0,
        "share of h dropped on its way to the next step during training, the same at every step of a row; a "
        "step then takes several times as long",
        flag="--recurrent-dropout",
        minimum=0,
        below=1,
    )
    tie_weights: bool = setting(False, "let the output layer use the embedding's weights", flag="--tie")
    chrono_steps: int | None = setting(
        None,
        "initialise the gates for lags up to N steps (chrono initialisation, Tallec & Ollivier 2018)",
        flag="--chrono",
        minimum=2,
    )
    init: str = setting(
        "orthogonal",
        "initial recurrent weights; orthogonal keeps norms (Saxe et al. 2014; with relu it is the identity, "
        "Le et al. 2015), uniform is what torch.nn does",
        flag="--init",
        choices=INITS,
        was="start",
    )
    forget_bias: float = setting(
        1.0,
        "initial bias of an LSTM's forget gate (Gers et al. 2000); a larger one remembers longer",
        flag="--forget-bias",
        minimum=-20,
        maximum=20,
    )
    bptt_steps: int | None = setting(
        None,
        "window of truncated back-propagation through time on a stream, in tokens; default: 32 or 64",
        flag="--bptt",
        minimum=1,
        maximum=1_000_000,
    )
    recompute: int | None = setting(
        None,
        "of a text: keep the activations of N steps of a window at a time and run it again in the backward "
        "pass, for windows that do not fit into memory, at a third more time; default: where a whole window "
        "does not fit, as many as do",
        flag="--recompute",
        minimum=1,
        maximum=1_000_000,
    )
    restart_share: float = setting(
        0.02,
        "share of a stream's rows that start each window from the zero state, so that the network stays "
        "usable from there",
        flag="--restart",
        minimum=0,
        maximum=1,
    )
    batch_size: int | None = setting(
        None,
        "rows per step, of all processes together; default: by the task",
        flag="--batch",
        minimum=1,
        maximum=1_000_000,
    )
    learning_rate: float | None = setting(
        None, "peak learning rate; default: by the task", flag="--lr", above=0
    )
    weight_decay: float = setting(
        0.01, "weight decay of AdamW, on weight matrices only", flag="--weight-decay", minimum=0
    )
    clip_norm: float = setting(
        1.0, "largest global norm of the gradient; a larger one is scaled down", flag="--clip", above=0
    )
    dtype: str = setting(
        "auto",
        "number format of the matrix products; auto: bfloat16 where the processor multiplies it natively, "
        "else float32",
        flag="--dtype",
        choices=("auto", "float32", "bfloat16"),
    )
    backend: str = setting(
        "auto",
        "implementation of the recurrent layers; `unrolled doctor` says what auto takes",
        flag="--backend",
        choices=("auto", "reference", "native", "torch"),
    )
    threads: int | None = setting(
        None,
        "number of threads; default: one for a small network, whose threads would wait for one another, else "
        "torch's own choice; with --minutes both are timed, and the faster is taken",
        flag="--threads",
        minimum=1,
        maximum=1024,
    )
    timeout_s: float = setting(
        300.0,
        "with several processes (docs/processes.md): seconds that one waits for another that does not "
        "answer, before it ends with an error",
        flag="--timeout",
        minimum=1,
        maximum=86_400,
    )
    seed: int = setting(
        0, "seed of weights, order, dropout and samples", flag="--seed", minimum=0, maximum=2**32 - 1
    )
    save_every: int | None = setting(
        None,
        "steps between two checkpoints, each with a validation; default: a tenth of the run",
        flag="--save-every",
        minimum=1,
    )
    keep: int = setting(
        3, "number of newest checkpoints that stay, besides the best one", flag="--keep", minimum=1
    )
    tensorboard: bool = setting(
        False,
        "also log to RUN/tensorboard, for TensorBoard (pip install 'unrolled[tensorboard]'); "
        "--no-tensorboard turns it off in a run that is resumed",
        flag="--tensorboard",
        negative=True,
    )
    telemetry_every: int = setting(
        0,
        "every N steps log the norm of the gradient by lag, and which share of the gates is open or closed, "
        "to metrics.jsonl, telemetry.png and TensorBoard where that is on; in a run of fewer steps about ten "
        "times. Without a number every 100, 0: never",
        flag="--telemetry",
        minimum=0,
        bare=100,
    )

    def __post_init__(self) -> None:
        kind = kind_of(self.data)
        if self.cell == "auto":  # what is stored, and what others read, is a cell
            object.__setattr__(self, "cell", kind.cell)
        check(self)
        if self.norm == "layer":
            object.__setattr__(self, "cell", normalised(self.cell))
        elif CELLS[self.cell].norm == "layer":  # the same by the cell's own name
            object.__setattr__(self, "norm", "layer")
        if self.run is not None and (not self.run or "\0" in self.run):
            got = repr(self.run) if self.run else "an empty text"
            raise ConfigError(expected("run", "a directory or a new path", got))
        budgets = [name for name in ("minutes", "epochs", "steps") if getattr(self, name) is not None]
        if self.resume and self.overwrite:
            raise ConfigError(expected("resume", "no `overwrite` beside it", "both"))
        if len(budgets) > 1:
            got = " and ".join(f"`{name}`" for name in budgets)
            raise ConfigError(expected(budgets[0], "one of `minutes`, `epochs`, `steps`", got))
        if not self.resume:  # else what is not given follows the run, which may be of another cell
            self._check_pairs()

    def _check_pairs(self) -> None:
        check_cell(self.cell, self.nonlinearity, self.forget_bias, self.chrono_steps)
        widths = {self.embedding_size, self.hidden_size} - {None}
        if self.tie_weights and len(widths) > 1:
            raise ConfigError(
                expected("tie_weights", f"embedding_size {self.hidden_size}", self.embedding_size)
            )
