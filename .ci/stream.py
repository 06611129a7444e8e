"""Streaming where torch is not: README's lines, and more, on a model directory that numpy alone has made.

python .ci/stream.py FOLDER     makes FOLDER/runs/sentences, and runs everything there
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import numpy as np

from unrolled import checkpoint, spec, stream, tokens
from unrolled.schema import Scaler, SequenceSchema

README = Path(__file__).resolve().parents[1] / "README.md"


def make(directory: Path) -> None:
    """Write a small language model with random weights."""
    symbols = tokens.build("char", ["Fay and Ben sing, and dance.\n"])
    config = spec.ModelConfig(symbols.size, 8, 24, num_layers=2)
    rng = np.random.default_rng(0)
    weights = {}
    for name, (dtype, shape) in spec.tensors(config).items():
        data = rng.normal(scale=0.3, size=shape).astype(np.float32)
        weights[name] = checkpoint.Tensor(dtype, shape, data.tobytes())
    section = {"model": spec.to_json(config), "data": {"source": "none", "shape": "stream"}, "training": {}}
    checkpoint.write_into(directory, checkpoint.Contents(section, weights, symbols.to_json(), None, None))


def readme_lines() -> str:
    """Return the block of README that streams a run."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (found,) = [block for block in blocks if "stream.load(" in block]
    return found


def check(directory: Path) -> None:
    """Steps, chunks and pools agree, in every type of weights; states go from one session to the next."""
    for weights in ("float32", "bfloat16", "int8"):
        model = stream.load(directory, weights=weights)
        ids = np.array(model.tokens.encode("Ben and Fay dance"))
        session, out = model.open(), np.empty(model.vocab_size, np.float32)
        steps = np.stack([session.step(int(token), out).copy() for token in ids])
        assert np.array_equal(model.open().run(ids), steps)
        assert np.array_equal(model.pool(3).step(np.repeat(ids[:1], 3))[2], steps[0])
        assert model.open(session.save()).save() == session.save()
    layer = {"weight_ih_l0": np.ones((12, 2), np.float32), "weight_hh_l0": np.ones((12, 4), np.float32)}
    assert stream.Recurrent.from_tensors("GRU", layer).open().step(np.ones(2, np.float32)).shape == (4,)


def check_task() -> None:
    """A classifier with random weights answers after each step, wherever its state was saved."""
    rows = np.random.default_rng(0).normal(3, 2, (20, 2)).astype(np.float32)
    rows[5, 0] = np.nan
    known = SequenceSchema(("rest", "walk"), scaler=Scaler.fit([rows], ("x", "y")))
    config = spec.ClassifyModel(len(known.scaler.outputs), 0, 0, 2, 12, causal=True, neighbours=2)
    rng, weights = np.random.default_rng(1), {}
    for name, (dtype, shape) in spec.tensors(config).items():
        data = rng.normal(scale=0.3, size=shape).astype(np.float32)
        weights[name] = checkpoint.Tensor(dtype, shape, data.tobytes())
    stored = {"task": "classify", "model": spec.to_json(config), "schema": known.to_json()}
    checkpoint.write_into(Path("runs/steps"), checkpoint.Contents(stored, weights, None, None, None))
    model = stream.load("runs/steps")
    session, pool = model.open(), model.pool(2)
    for number, row in enumerate(rows):
        answer = session.step(row)
        assert np.array_equal(pool.step(np.stack([row, row]))[1], answer)
        session = model.open(session.save()) if number % 7 == 0 else session
    assert abs(answer.sum() - 1) < 1e-12


def main() -> None:
    os.chdir(sys.argv[1])
    directory = Path("runs/sentences")
    make(directory)
    exec(compile(readme_lines(), str(README), "exec"), {"__name__": "readme"})
    check(directory)
    check_task()
    assert "torch" not in sys.modules
    print("streams without torch: README's lines, steps, chunks, pools, saved states, three types of weights")


if __name__ == "__main__":
    main()
