"""What the page says of gates and states, unit by unit and step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from unrolled.errors import counted
from unrolled.probe.findings import STUCK
from unrolled.probe.gates import NAMED, Gates, LayerGates, Trajectories
from unrolled.probe.page.html import Markup, table, token
from unrolled.probe.page.sections import Section
from unrolled.probe.result import Floats
from unrolled.probe.words import listed, number, numbers, percent, steps, thinned
from unrolled.spec import CLOSED, OPEN, Cell

SHARES = (0, 10, 50, 90, 100)  # percentiles over units, that tables list
LARGEST = 8  # eigenvalues that are listed


def use(result: Gates) -> Section:
    """Return the section on what gates and units do over the whole batch."""
    gated = [layer for layer in result.layers if layer.gates]
    plain = [layer for layer in result.layers if layer.spectrum is not None]
    cloud = (
        "each point is a gate of one unit: to the right it is closed at more steps "
        f"(below {CLOSED}), upwards it is open at more steps (above {OPEN}), and on the slanted line it is "
        "always one of the two"
    )
    ring = (
        "each point is an eigenvalue of W_hh: without inputs and saturation, directions inside the dotted "
        "circle fade, and those outside of it grow"
    )
    return Section(
        name="gates",
        kind="A cloud of points for each layer.",
        reading="; ".join([cloud] * bool(gated) + [ring] * bool(plain)) + ".",
        shows=f"over {counted(result.samples, 'step')}, {'; '.join(map(_words, result.layers))}.",
        tables=[
            _layers(result.layers),
            *map(_spread, result.layers),
            *map(_spectrum, plain),
        ],
        draw=result.plot,
    )


def _words(layer: LayerGates) -> str:
    units = len(layer.saturated)
    parts = []
    if layer.time_constant is not None:
        gate = layer.kind.keep or ""
        kept = steps(_median(layer.time_constant))
        mean = number(float(layer.gates[gate].mean.mean()))
        parts += [f"the {layer.kind.title(gate)} has the mean {mean}",
                  f"half of the units keep their state for {kept} or more"]  # fmt: skip
    if layer.spectral_radius is not None:
        parts.append(f"the spectral radius is {number(layer.spectral_radius)}")
    parts += [
        f"{_saturation(layer)} at {percent(float(layer.saturated.mean()))} of the steps",
        f"{int(layer.never_changes.sum())} of {units} units never change",
    ]
    return f"in {layer.layer} {listed(parts)}"


def _saturation(layer: LayerGates) -> str:
    if layer.relu:
        return "a unit is 0"
    what = "candidate" if layer.kind.sigmoid else "tanh"
    return f"the {what} is beyond ±{OPEN}"


def _layers(layers: Sequence[LayerGates]) -> Markup:
    head = ("Layer", "Cell", "Units", "Median time constant, steps", "Saturated, share of steps",
            f"Units saturated at {percent(STUCK)} of the steps", "Units that never change",
            "Spectral radius")  # fmt: skip
    rows = (
        (
            layer.layer,
            layer.cell,
            len(layer.saturated),
            "no gate" if layer.time_constant is None else number(_median(layer.time_constant)),
            percent(float(layer.saturated.mean())),
            int((layer.saturated > STUCK).sum()),
            int(layer.never_changes.sum()),
            "not measured" if layer.spectral_radius is None else number(layer.spectral_radius),
        )
        for layer in layers
    )
    return table(f"Layers; saturated: {listed(dict.fromkeys(map(_saturation, layers)))}", head, rows)


def _spread(layer: LayerGates) -> Markup:
    head = ("Quantity", "Least", "10th percentile", "Median", "90th percentile", "Largest")
    rows = ((name, *numbers(*np.percentile(values, SHARES, method="nearest")))
            for name, values in _quantities(layer))  # fmt: skip
    return table(f"Spread over the {counted(len(layer.saturated), 'unit')} of {layer.layer}", head, rows)


def _quantities(layer: LayerGates) -> Iterator[tuple[str, Floats]]:
    for name, gate in layer.gates.items():
        title = layer.kind.title(name).capitalize()
        yield f"{title}, mean", gate.mean
        yield f"{title}, share of steps closed", gate.closed
        yield f"{title}, share of steps open", gate.open
    if layer.time_constant is not None:
        yield "Time constant, steps", layer.time_constant
    yield "Saturated, share of steps", layer.saturated
    yield "State, mean", layer.state_mean
    yield "State, standard deviation", layer.state_deviation
    if layer.spectrum is not None:
        yield "Modulus of an eigenvalue of W_hh", np.abs(layer.spectrum)


def _spectrum(layer: LayerGates) -> Markup:
    assert layer.spectrum is not None
    beyond = int((abs(layer.spectrum) > 1).sum())
    return table(
        f"Eigenvalues of W_hh of {layer.layer}: the largest; {beyond} of {len(layer.spectrum)} lie outside "
        "the unit circle",
        ("Number", "Real part", "Imaginary part", "Modulus"),
        (
            (n + 1, *numbers(value.real, value.imag, abs(value)))
            for n, value in enumerate(layer.spectrum[:LARGEST].tolist())
        ),
    )


def _median(values: Floats) -> float:
    return float(np.percentile(values, 50, method="nearest"))


def record(result: Trajectories, tokens: Sequence[str] | None) -> Section:
    """Return the section on the last layer over one text; `tokens` are its texts, where it has them."""
    name, values = list(result.layers.items())[-1]
    count, cell = result.lengths[0], result.cell(name)
    tokens = tokens if tokens is not None and len(tokens) >= count else None
    strips = {key: array[:count, 0] for key, array in values.items()}
    units = next(iter(strips.values())).shape[1]
    gates = "A gate is dark where it is closed (0) and bright where it is open (1); a state is"
    colours = f"{gates if cell.sigmoid else 'It is'} blue below 0, white at 0 and red above."
    few = f" Below each strip are the {NAMED} units whose state changes most." if units > NAMED else ""
    return Section(
        name="trajectories",
        kind="Strips, one above the other: one column per step, one row per unit.",
        reading=f"one strip per gate or state of the last layer, one column per step, one row per unit, the "
        f"same in every strip. {colours} The bars give the numbers.{few}",
        shows=f"{name} over {steps(count)}, {counted(units, 'unit')}: "
        f"{listed(_average(cell, key, array) for key, array in strips.items())}.",
        tables=[_by_step(name, cell, strips, tokens)],
        draw=partial(result.plot, tokens=tokens),
    )


def _average(cell: Cell, name: str, values: Floats) -> str:
    size = "" if name in cell.sigmoid else " size"
    return f"the {cell.title(name)} has the mean{size} {number(float(_mean(cell, name, values).mean()))}"


def _mean(cell: Cell, name: str, values: Floats) -> Floats:
    """Return [T] the mean over units: of a gate's values, of a state's magnitudes."""
    found: Floats = (values if name in cell.sigmoid else np.abs(values)).mean(1)
    return found


def _by_step(layer: str, cell: Cell, strips: dict[str, Floats], tokens: Sequence[str] | None) -> Markup:
    names = [
        f"{cell.title(key).capitalize()}, mean{'' if key in cell.sigmoid else ' size'}" for key in strips
    ]
    columns = [_mean(cell, key, values) for key, values in strips.items()]
    rows: list[list[object]] = []
    for t in thinned(columns[0]):
        named = [] if tokens is None else [token(tokens[t])]
        rows.append([t, *named, *numbers(*(float(column[t]) for column in columns))])
    head = ("Step", *(["Token"] if tokens is not None else []), *names)
    return table(f"{layer} step by step, over its units", head, rows)
