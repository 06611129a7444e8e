"""Which float type the recurrent matrix products take."""

from __future__ import annotations

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch

__all__ = ["autocast", "choose_dtype", "native_bfloat16"]


def native_bfloat16() -> bool:
    """Say whether this processor multiplies bfloat16 natively (AVX-512 BF16 or AMX)."""
    cpu: Any = torch.cpu
    return bool(cpu._is_avx512_bf16_supported() or cpu._is_amx_tile_supported())


def choose_dtype(dtype: str, *, cell: str) -> str:
    """Resolve "auto": bfloat16 for an LSTM where it is native, else float32.

    Measured (bench/RESULTS.md): PyTorch gives bfloat16 LSTMs a fused oneDNN path, GRU and RNN none.
    """
    if dtype != "auto":
        return dtype
    return "bfloat16" if cell == "lstm" and native_bfloat16() else "float32"


def autocast(dtype: str) -> AbstractContextManager[Any]:
    """Return the context in which a training step of that dtype runs; weights stay float32."""
    if dtype == "bfloat16":
        return torch.autocast("cpu", dtype=torch.bfloat16)
    return contextlib.nullcontext()
