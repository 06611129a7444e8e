"""Exported folders of C for the tests, and what builds and runs them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import torch

from unrolled import checkpoint, spec
from unrolled.data import Series
from unrolled.export import subject_of
from unrolled.export.c import CFormat
from unrolled.tasks.forecast.schema import Schema
from unrolled.tasks.loading import assemble

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-O2")


def layers(kind="LSTM", *sizes, **options):
    torch.manual_seed(3)
    return getattr(torch.nn, kind)(*(sizes or (5, 19, 2)), **options)


def forecaster(
    *,
    series=1,
    missing=0.0,
    columns=0,
    distribution="quantiles",
    normalise="last",
    cell="gru",
    seed=0,
    levels="80,95",
):
    """A causal forecaster with random weights, of several series with columns."""
    rng = np.random.default_rng(seed)
    values = [rng.normal(10 * k, 1 + k, 25) for k in range(series)]
    past = [rng.normal(3, 2, (25, columns)).astype(np.float32) for _ in values]
    for own, each in zip(values, past, strict=True):
        own[:-1][rng.random(24) < missing] = np.nan
        each[rng.random(each.shape) < missing] = np.nan
    more = {"past": past, "past_names": [f"c{k}" for k in range(columns)]} if columns else {}
    of = Series.from_arrays(values, ids=[f"s{k}" for k in range(series)], **more)
    levels = None if distribution == "point" else levels
    data = spec.ForecastData(
        "waves", horizon=4, causal=True, intervals=levels, distribution=distribution, normalise=normalise
    )
    schema = Schema.fit(of, [len(each) for each in of.values], data)
    if levels:
        schema = schema.corrected(rng.normal(0, 0.1, (len(schema.levels), 4)))
    outputs = {"point": 1, "gaussian": 2, "student-t": 3}.get(distribution, len(schema.quantiles))
    config = spec.ForecastModel(
        4, 12, 0, len(schema.channels), outputs, 6, distribution=distribution, normalise=normalise, cell=cell
    )
    weights = {}
    for name, (dtype, shape) in spec.tensors(config).items():
        weights[name] = checkpoint.Tensor(
            dtype, shape, rng.normal(scale=0.4, size=shape).astype(np.float32).tobytes()
        )
    stored = {
        "task": "forecast",
        "model": spec.to_json(config),
        "data": {},
        "training": {},
        "schema": schema.to_json(),
    }
    return assemble(checkpoint.Contents(stored, weights, None, None, None, Path("model")))


def written(source, folder, *, weights="float32", **options):
    """Write a folder, and return the check."""
    folder.mkdir(exist_ok=True)
    form, subject = CFormat().with_options(**options), subject_of(source)
    form.check(subject)
    return form.write(subject, folder, weights=weights)


def built(folder, *sources, command="cc", flags=STRICT, libraries=()):
    """Compile C or C++ files into a program, and return its path; the compiler's words are the failure."""
    program = folder / "program"
    words = [command, *flags, *(str(folder / each) for each in sources), "-o", str(program), *libraries]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def said(program, *launch, cwd=None):
    """Run a program, and return what it printed; it must end well."""
    done = subprocess.run(
        [*launch, str(program)], capture_output=True, check=False, cwd=cwd or program.parent
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def found(*names):
    """Whether all of these programs are installed."""
    return all(shutil.which(name) for name in names)
