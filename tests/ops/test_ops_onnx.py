"""A call of an op in ONNX: what onnxruntime computes of it, row by row, in either direction."""

from __future__ import annotations

import io

import pytest
import torch
from ops_cases import call, make

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("variant", ["rnn_relu", "lstm", "gru"])
def test_rows_of_any_length_end_in_onnx_as_they_end_here(variant, reverse):
    case = {name: leaf.detach() for name, leaf in make(variant, T=5, B=3, H=4, dtype=torch.float32).items()}
    names = [name for name in ("x", "h_0", "c_0") if name in case]

    class Model(torch.nn.Module):
        def forward(self, lengths, *given):
            return call(
                variant, case | dict(zip(names, given, strict=True)), lengths=lengths, reverse=reverse
            )

    lengths = torch.tensor([3, 0, 5])
    inputs, file = (lengths, *(case[name] for name in names)), io.BytesIO()
    torch.onnx.export(Model(), inputs, file, dynamo=False, input_names=["lengths", *names])
    session = runtime.InferenceSession(file.getvalue())
    given = {name: value.numpy() for name, value in zip(["lengths", *names], inputs, strict=True)}
    found = [torch.from_numpy(each) for each in session.run(None, given)]
    torch.testing.assert_close(found, list(Model()(*inputs)), rtol=1e-5, atol=1e-5)
