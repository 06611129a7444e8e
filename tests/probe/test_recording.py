"""One run of a network serves many measurements; and the files of the probe import each other in one direction."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import numpy as np
import pytest
import torch
from probe_cases import F64, language_model, noise, tokens

from unrolled import probe
from unrolled.errors import ConfigError

ROOM = Path(probe.__file__).parent


def test_measurements_of_one_recording_share_its_run(monkeypatch: pytest.MonkeyPatch):
    model, batch, runs = language_model(), tokens(40, 3), []
    forward = type(model).forward
    monkeypatch.setattr(type(model), "forward", lambda *args: runs.append(1) or forward(*args))
    shared = probe.record(model, batch)
    together = [
        probe.gradient_flow(model, shared, lags=8),
        probe.gates(model, shared),
        probe.lyapunov(model, shared),
        probe.trajectories(model, shared),
        probe.memory_map(model, shared),
        probe.gradient_flow(model, shared, lags=4),
    ]
    assert len(runs) == 1
    apart = [
        probe.gradient_flow(model, batch, lags=8),
        probe.gates(model, batch),
        probe.lyapunov(model, batch),
        probe.trajectories(model, batch),
        probe.memory_map(model, batch),
        probe.gradient_flow(model, batch, lags=4),
    ]
    assert [each.to_dict() for each in together] == [each.to_dict() for each in apart]


def test_a_recording_of_another_model_or_of_both_directions_is_refused():
    x = noise(9, 2, 3)
    shared = probe.record(torch.nn.GRU(3, 4, dtype=F64), x)
    with pytest.raises(ConfigError, match="batch: expected a recording of this model, got one of another"):
        probe.gates(torch.nn.GRU(3, 4, dtype=F64), shared)
    both = torch.nn.GRU(3, 4, bidirectional=True, dtype=F64)
    shared = probe.record(both, x, directions=True)
    assert len(probe.gates(both, shared).layers) == 2
    with pytest.raises(ConfigError, match="layers that run forward"):
        probe.lyapunov(both, shared)


def test_the_first_steps_of_a_record_are_those_of_a_shorter_one():
    model, batch = language_model(num_layers=1), tokens(40, 2)
    few = probe.trajectories(model, batch, steps=7)
    all_of_them = probe.trajectories(model, batch)
    assert few.lengths == (7, 7)
    for name, values in few.layers["recurrent.l0"].items():
        np.testing.assert_array_equal(values, all_of_them.layers["recurrent.l0"][name][:7])


def test_no_file_of_the_probe_imports_another_in_a_circle():
    """Imports for type checkers included: what needs each other belongs into one file."""
    graph: dict[str, set[str]] = {}
    for path in ROOM.rglob("*.py"):
        name = ".".join(("unrolled.probe", *path.relative_to(ROOM).with_suffix("").parts))
        found = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        named = {f"{node.module}.{alias.name}" for node in found for alias in node.names}
        named |= {node.module or "" for node in found}
        graph[name.removesuffix(".__init__")] = {each for each in named if each.startswith("unrolled.probe")}
    known = {name: {each for each in named if each in graph} for name, named in graph.items()}
    assert list(TopologicalSorter(known).static_order())
