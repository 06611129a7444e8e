"""How many steps a run takes, when it validates and saves, and the learning rate of each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Schedule"]

WARMUP_SHARE = 0.03
ROWS_A_RUN = 200  # lines of metrics.jsonl


@dataclass(frozen=True)
class Schedule:
    """Fixed before the first step, by --steps, --epochs, or a calibration for --minutes."""

    steps: int
    save_every: int  # steps between validations, each with a checkpoint
    peak: float  # the largest learning rate
    start: int | None = None  # of a resumed run, the step after which this process took over

    def learning_rate(self, step: int) -> float:
        """Return the rate of step 0 … steps − 1: a linear warm-up over 3 %, then a cosine to zero.

        Source: Loshchilov & Hutter 2017 (the cosine); Goyal et al. 2017 (the warm-up).
        """
        warmup = max(1, round(WARMUP_SHARE * self.steps))
        if step < warmup:
            return self.peak * (step + 1) / warmup
        share = (step - warmup) / max(1, self.steps - warmup)
        return self.peak * 0.5 * (1.0 + math.cos(math.pi * share))

    def saves_at(self, step: int) -> bool:
        """Say whether a validation and a checkpoint follow step 1 … steps; the last step always."""
        return step % self.save_every == 0 or step == self.steps

    def reports_at(self, step: int) -> bool:
        """Say whether a row of figures follows a step that is not validated."""
        return step % max(1, self.steps // ROWS_A_RUN) == 0
