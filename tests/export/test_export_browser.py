"""docs/export/browser.md is true: its Python and its JavaScript run, and give what `unrolled predict` gives."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from export_cases import sequence

from unrolled import export

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
ROOT = Path(__file__).parents[2]
BLOCKS = dict(re.findall(r"```(\w+)\n(.*?)```", (ROOT / "docs/export/browser.md").read_text(), re.S))
RUN = """
import { readFileSync } from "node:fs";
import { classify, open } from "./gestures.mjs";
const about = JSON.parse(readFileSync("gestures.json"));
const session = await open(new Uint8Array(readFileSync("gestures.onnx")));
console.log(JSON.stringify(await classify(session, about, JSON.parse(readFileSync("samples.json")))));
"""


def web_runtime() -> Path | None:
    """Return the folder node_modules with onnxruntime-web: of the repository, or UNROLLED_NODE_MODULES."""
    places = [os.environ.get("UNROLLED_NODE_MODULES", ""), str(ROOT / "node_modules")]
    return next((Path(each) for each in places if each and (Path(each) / "onnxruntime-web").is_dir()), None)


def test_the_page_runs_and_gives_our_answers(tmp_path, monkeypatch):
    network, draw = sequence("gru", missing=True), np.random.default_rng(0)
    export.export(network, to="onnx", out=tmp_path / "gestures.onnx")
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS["python"], "browser.md", "exec"), {})
    about = json.loads((tmp_path / "gestures.json").read_text())
    assert about["columns"] == ["a", "b", "c"]
    assert about["states"] == {"h_0": [2, "B", 5]}
    node, modules = shutil.which("node"), web_runtime()
    if node is None or modules is None:
        pytest.skip("node with onnxruntime-web is not here: npm install onnxruntime-web")
    samples = [draw.normal(3, 5, (steps, 3)).astype(np.float32) for steps in (9, 4, 1)]
    samples[0][2, 1] = np.nan
    listed = [[[None if np.isnan(v) else float(v) for v in row] for row in each] for each in samples]
    (tmp_path / "samples.json").write_text(json.dumps(listed))
    (tmp_path / "gestures.mjs").write_text(BLOCKS["js"])
    (tmp_path / "run.mjs").write_text(RUN)
    (tmp_path / "node_modules").symlink_to(modules.resolve())
    done = subprocess.run([node, "run.mjs"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    want = network.schema.answers(
        network.answers([np.clip(network.schema.scaler.transform(each), -20, 20) for each in samples])
    )
    got = [[row[name] for name in network.schema.classes] for row in json.loads(done.stdout.splitlines()[-1])]
    np.testing.assert_allclose(got, want, atol=2e-5)


def test_the_html_of_the_page_uses_what_its_javascript_exports():
    assert set(re.findall(r"export async function (\w+)", BLOCKS["js"])) == {"classify", "open"}
    assert 'import { classify, open } from "./gestures.js"' in BLOCKS["html"]
