"""What is compared: families of variants, each differing from its family's baseline in one factor."""

from __future__ import annotations

from dataclasses import dataclass

from unrolled import kernels
from unrolled.train import native_bfloat16

__all__ = ["FAMILIES", "WHOLE", "Family", "Variant", "available"]

WHOLE = 0  # bptt_steps: a row from its first step to its last


@dataclass(frozen=True)
class Variant:
    """One way to feed, cut or compute sequences; the defaults are the baseline of long text."""

    name: str  # as the tables print it
    factor: str  # what differs from the baseline; "" for the baseline itself
    share: float = 1.0  # of the targets that a quick run gives the baseline: slow variants get fewer
    batching: str = (
        "windows"  # windows | signals | padded | lengths | buckets | bucket lengths | packed | short first
    )
    batch_size: int = 32  # rows of long text; sequences a batch
    bptt_steps: int = 64  # of long text: steps of a window, or WHOLE
    carried: bool = True  # of long text: a window goes on from the state of the one before
    front: str = "none"  # none | stacked | convolved: what makes one step of several characters
    frames: int = 1  # characters a step
    backend: str = "auto"
    dtype: str = "float32"
    rate: float = 1.0  # times the learning rate


@dataclass(frozen=True)
class Family:
    """Variants that read the same text; the first is the baseline."""

    name: str
    title: str
    variants: tuple[Variant, ...]


SEQUENCES = Family(
    "sequences",
    "Sequences of unequal length",
    (
        Variant("random order, padded to the longest", "", 0.8, batching="padded"),
        Variant("padded, the engine is told the lengths", "lengths", 1.4, batching="lengths"),
        Variant("batches of about equal length, padded", "length buckets", 1.6, batching="buckets"),
        Variant("equal length, lengths told", "buckets and lengths", 1.6, batching="bucket lengths"),
        Variant("several in a row, with resets", "packing", 1.6, batching="packed"),
        Variant("short ones first, padded", "length warm-up", 0.8, batching="short first"),
    ),
)
LONG_TEXT = Family(
    "long-text",
    "One long text",
    (
        Variant("windows of 64 steps, 32 rows, carried state", ""),
        Variant("windows of 16 steps", "BPTT window", 0.8, bptt_steps=16),
        Variant("windows of 256 steps", "BPTT window", bptt_steps=256),
        Variant("the whole row at once", "BPTT window", bptt_steps=WHOLE),
        Variant("1 row", "batch size", 0.15, batch_size=1),
        Variant("8 rows", "batch size", 0.6, batch_size=8),
        Variant("128 rows", "batch size", batch_size=128),
        Variant("128 rows, twice the learning rate", "batch size and rate", batch_size=128, rate=2.0),
        Variant("each window from the zero state", "carried state", carried=False),
        Variant("4 characters stacked into a step", "frame stacking", 2.0, front="stacked", frames=4),
        Variant("a convolution of stride 4 in front", "convolution", 2.0, front="convolved", frames=4),
    ),
)
SIGNALS = Family(
    "signals",
    "Long signals, a label each",
    (
        Variant("a sample a step", "", 0.01, batching="signals"),
        Variant("8 samples stacked", "frame stacking", 0.04, batching="signals", front="stacked", frames=8),
        Variant("stride 8", "convolution", 0.04, batching="signals", front="convolved", frames=8),
    ),
)
ENGINE = Family(
    "engine",
    "The engine and its numbers",
    (
        Variant("torch's layers, float32", "", backend="torch"),
        Variant("the native engine, float32", "engine", 1.4, backend="native"),
        Variant("torch's layers, bfloat16", "precision", backend="torch", dtype="bfloat16"),
    ),
)
FAMILIES = (SEQUENCES, LONG_TEXT, SIGNALS, ENGINE)


def available(family: Family) -> list[Variant]:
    """Return the variants that this machine can run: kernels are there, bfloat16 is native."""
    missing = set()
    if not kernels.available():
        missing |= {v.name for v in family.variants if v.backend == "native"}
    if not native_bfloat16():
        missing |= {v.name for v in family.variants if v.dtype == "bfloat16"}
    return [v for v in family.variants if v.name not in missing]
