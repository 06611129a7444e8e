"""The build's check that kernels of one instruction set cannot stand in for another's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[2] / "cmake" / "check_symbols.cmake"
OWN = [
    "0000000000000000 R _ZN8unrolled14kernels_avx512E",
    "0000000000000000 W _ZN8unrolled6avx5126squareIfEEvPT_l",
    "0000000000000000 W _ZSt4sortIPN8unrolled6avx5121SEEvT_S4_",
    "0000000000000000 V DW.ref.__gxx_personality_v0",
    "0000000000000000 t _ZSt4swapIfEvRT_S1_",
]


def check(path: Path, *symbols: str) -> subprocess.CompletedProcess[str]:
    """Run the check on what a stand-in for nm lists."""
    nm = path / "nm"
    nm.write_text("#!/bin/sh\ncat <<'EOF'\n\nisa.cpp.o:\n" + "\n".join(symbols) + "\nEOF\n")
    nm.chmod(0o755)
    words = ["cmake", f"-DNM={nm}", "-DLIBRARY=some.a", "-DISA=avx512", "-P", str(CHECK)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
@pytest.mark.parametrize(
    ("symbol", "refused"),
    [
        ("W _ZNSt6vectorIfSaIfEE17_M_default_appendEm", True),  # an inline function of the library
        ("u _ZZ4sizevE4once", True),  # one object for all of the process
        ("T _ZN8unrolled5shareEl", True),  # the engine's, but no one instruction set's
        ("W _ZN8unrolled11avx512_bf166squareIfEEvPT_l", True),  # another instruction set's
        ("T _ZN8unrolled6avx5124tanhEv", False),
    ],
)
def test_a_symbol_outside_the_namespace_of_its_instruction_set_fails_the_build(
    tmp_path: Path, symbol: str, refused: bool
):
    run = check(tmp_path, *OWN, f"0000000000000000 {symbol}")
    assert bool(run.returncode) == refused, run.stderr
    assert (symbol.split()[1] in run.stderr) == refused
    assert not any(own.split()[2] in run.stderr for own in OWN)
