"""Settings that solve each task, found by trial; bench/lab_reach.py measures them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from unrolled.errors import ConfigError, expected
from unrolled.lab.network import NetworkSettings
from unrolled.lab.solving import FitSettings
from unrolled.lab.tasks import Task

__all__ = ["RECIPES", "Recipe", "recipe_for"]


@dataclass(frozen=True)
class Recipe:
    """A network, how it is trained, and for how long."""

    network: NetworkSettings
    fit: FitSettings
    steps: int  # of the optimiser
    chrono: bool = True  # whether the gates start for lags up to the length of the task


RECIPES = {
    # The chrono start alone lets the marks through, at T = 200 and at 600, without a curriculum; at a rate of
    # 0.01 the plateau ends four times as early as at 0.003; the cosine takes the last decimals.
    "adding": Recipe(
        NetworkSettings("lstm", hidden_size=64),
        FitSettings(batch_size=64, learning_rate=1e-2, schedule="cosine"),
        steps=2000,
    ),
    # Ten symbols need room: 128 units. At lag 100 seed 0 is solved at step 3,000; a cosine over 4,000 steps
    # ends unsolved, and so do a rate of 0.003 and a forget bias of 5 instead of chrono.
    "copying": Recipe(
        NetworkSettings("lstm", hidden_size=128),
        FitSettings(batch_size=64, learning_rate=1e-2, schedule="cosine"),
        steps=10_000,
    ),
    # As adding; one symbol is easier to keep than a number.
    "recall": Recipe(
        NetworkSettings("lstm", hidden_size=64),
        FitSettings(batch_size=64, learning_rate=1e-2, schedule="cosine"),
        steps=1000,
    ),
    # The curve may lie anywhere: read it both ways, each step with its neighbours, and answer from the
    # largest outputs over time instead of the last. No lag is longer than the curve, so no chrono start.
    "mnist1d": Recipe(
        NetworkSettings(
            "gru", hidden_size=48, num_layers=2, bidirectional=True, dropout=0.2, frames=5, pool="max"
        ),
        FitSettings(batch_size=128, learning_rate=5e-3, schedule="cosine"),
        steps=1200,
        chrono=False,
    ),
}


def recipe_for(task: Task) -> Recipe:
    """Return the recipe of a task, its gates started for the task's length.

    Raises:
        ConfigError: no recipe is known for it.
    """
    if task.name not in RECIPES:
        raise ConfigError(expected("task", "one of " + ", ".join(RECIPES), repr(task.name)))
    recipe = RECIPES[task.name]
    if not recipe.chrono:
        return recipe
    network = dataclasses.replace(recipe.network, chrono_steps=task.steps)
    return dataclasses.replace(recipe, network=network)
