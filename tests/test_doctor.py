"""The report of the machine: complete, printable, and honest where something is missing."""

import json
import os
import sys

import pytest

pytest.importorskip("torch")

import torch

import unrolled.nn  # noqa: F401 (before an engine is made up: it lends torch's threads to the real one)
from unrolled import doctor, files, kernels
from unrolled.doctor import report

WHY_NOT = "this install holds no compiled kernels: no C++ compiler was found"


@pytest.fixture
def with_kernels(monkeypatch):
    """An engine that has two instruction sets, whatever this install has."""
    monkeypatch.delenv("UNROLLED_ISA", raising=False)
    monkeypatch.setattr(kernels, "_engine", object())
    monkeypatch.setattr(kernels, "_runs", ("baseline", "avx2"))
    monkeypatch.setattr(kernels, "_why_not", None)


@pytest.fixture
def without_kernels(monkeypatch):
    monkeypatch.setattr(kernels, "_engine", None)
    monkeypatch.setattr(kernels, "_runs", ())
    monkeypatch.setattr(kernels, "_why_not", WHY_NOT)


def test_the_report_survives_json():
    found = report().to_dict()
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(report().to_dict()))
    assert set(found["packages"]) == {"unrolled", "torch", "numpy", "matplotlib", "rich"}


def test_the_report_names_every_backend_and_what_auto_takes_for_each_cell():
    found = report()
    assert set(found.backends) == {"reference", "torch", "native"}
    assert found.backends["reference"].available
    assert found.backends["torch"].available
    assert found.backends["native"].available == kernels.available()
    assert set(found.auto) == {"lstm", "gru", "rnn"}
    assert all(found.backends[name].available for name in found.auto.values())
    assert set(found.auto_dtype.values()) <= {"float32", "bfloat16"}


def test_the_text_shows_what_the_report_holds():
    found = report()
    text = str(found)
    assert found.processor in text
    assert f"torch {torch.__version__}" in text
    for name in (*found.backends, *found.auto, *found.instruction_sets):
        assert name in text
    assert all(line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize(
    ("load", "cores", "line"),
    [
        (0.4, 2.0, "load         0.4: the machine is quiet"),
        (9.0, 2.0, "load         9.0 on 2 cores: other programs run too."),
        (9.0, 8.0, "load         9.0: the machine is quiet"),
        (float("nan"), 2.0, "load         unknown"),
    ],
)
def test_a_busy_machine_is_told_of(monkeypatch, load, cores, line):
    monkeypatch.setattr(doctor, "load_average", lambda: load)
    monkeypatch.setattr(doctor, "cpu_limit", lambda: cores)
    found = report()
    assert any(each.startswith(line) for each in str(found).splitlines())
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["load"] == (
        load if load == load else None
    )


def test_instruction_sets_are_what_linux_says(monkeypatch, tmp_path):
    (tmp_path / "cpuinfo").write_text(
        "processor : 0\nmodel name : Slow 9000\nflags : fpu avx2 fma amx_tile\n\n"
        "processor : 1\nmodel name : Other\nflags : avx512f\n"
    )
    monkeypatch.setattr(doctor, "CPUINFO", tmp_path / "cpuinfo")
    found = report()
    assert found.processor == "Slow 9000"
    assert found.instruction_sets == ("avx2", "fma", "amx")


def test_without_cpuinfo_torch_is_asked(monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "CPUINFO", tmp_path / "missing")
    found = report()
    assert found.instruction_sets == (torch.backends.cpu.get_cpu_capability().lower(),)
    assert found.processor


@pytest.mark.usefixtures("with_kernels")
@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ("", "kernels for avx2, the fastest that runs here; also baseline"),
        ("baseline", "kernels for baseline, as UNROLLED_ISA says; also avx2"),
    ],
)
def test_the_native_line_names_the_instruction_set_that_is_taken(monkeypatch, asked, line):
    monkeypatch.setenv("UNROLLED_ISA", asked)
    found = report()
    assert found.backends["native"] == doctor.Backend(True, line)
    assert f"  native     yes  {line}" in str(found).splitlines()
    assert set(found.auto.values()) == {"native"}


@pytest.mark.usefixtures("without_kernels")
def test_missing_kernels_are_one_loud_line_and_auto_takes_torch():
    found = report()
    loud = [problem for problem in found.problems if WHY_NOT in problem]
    assert loud == [f"{WHY_NOT}; until then layers run on torch, slower"]
    assert f"PROBLEM: {loud[0]}" in str(found).splitlines()
    assert found.backends["native"] == doctor.Backend(False, WHY_NOT)
    assert set(found.auto.values()) == {"torch"}


@pytest.mark.usefixtures("with_kernels")
def test_an_instruction_set_that_does_not_run_is_the_loud_first_line(monkeypatch):
    monkeypatch.setenv("UNROLLED_ISA", "avx9")
    found = report()
    line = "UNROLLED_ISA: expected one that runs here: baseline, avx2, got 'avx9'"
    assert str(found).splitlines()[0] == f"PROBLEM: {line}"
    assert found.backends["native"] == doctor.Backend(False, line)
    assert not found.auto


def test_the_training_lines_name_the_backend_of_their_dtype(monkeypatch):
    monkeypatch.setattr(doctor, "_dtypes", lambda: {"lstm": "float16", "gru": "float32"})
    found = report()
    assert found.auto_training == {"lstm": "torch", "gru": found.auto["gru"]}
    assert "  lstm       float16 takes torch" in str(found).splitlines()


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)


@pytest.mark.usefixtures("without_torch", "with_kernels")
def test_without_torch_the_native_line_still_says_what_kernels_there_are():
    reason = report().backends["native"].reason
    assert reason.startswith("needs torch: ")
    assert reason.endswith("; kernels for avx2, the fastest that runs here; also baseline")


@pytest.mark.usefixtures("without_torch")
def test_a_missing_torch_is_the_loud_first_line():
    found = report()
    first = str(found).splitlines()[0]
    assert first.startswith("PROBLEM: torch is not installed")
    assert "pip install 'unrolled[train]'" in first
    assert found.packages["torch"] is None
    assert found.torch_threads is None
    assert not any(backend.available for backend in found.backends.values())
    assert not found.auto
    json.dumps(found.to_dict())


def test_a_torch_that_does_not_load_is_one_line(monkeypatch):
    def broken(_):
        raise OSError("libtorch.so:\ncannot open shared object file")

    monkeypatch.setattr(doctor.importlib, "import_module", broken)
    assert report().problems[0].startswith("torch cannot be loaded (libtorch.so: cannot open")


@pytest.mark.usefixtures("with_kernels")
def test_a_single_thread_on_many_cores_is_the_loud_first_line(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(doctor, "cpu_limit", lambda: 8.0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert str(report()).startswith("PROBLEM: torch uses only 1 thread of 8 cores: OMP_NUM_THREADS is set")


@pytest.mark.usefixtures("with_kernels")
def test_more_threads_than_cores_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor, "cpu_limit", lambda: 2.0)
    for threads in (3, 4):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert f"{threads} threads on 2 usable cores" in report().problems[0]


@pytest.mark.usefixtures("with_kernels")
def test_a_healthy_machine_has_no_problem(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: int(doctor.cpu_limit()))
    monkeypatch.setattr(doctor, "_version", lambda _: "1.0")
    assert report().problems == ()


@pytest.mark.usefixtures("with_kernels")
def test_a_missing_plotting_package_is_named(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: int(doctor.cpu_limit()))
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "rich" else "1.0")
    assert report().problems[0].startswith("rich not installed")


def test_cores_and_memory_are_those_that_this_process_may_use():
    found = report()
    assert 0 < found.cores <= (os.cpu_count() or 1)
    assert found.cores == files.cpu_limit()
    assert found.memory_bytes == files.memory_limit()


@pytest.mark.usefixtures("with_kernels")
def test_the_limits_of_a_container_are_shown_and_no_problem(monkeypatch):
    monkeypatch.setattr(doctor, "cpu_limit", lambda: 1.5)
    monkeypatch.setattr(doctor, "memory_limit", lambda: 3 * 2**29)
    monkeypatch.setattr(doctor, "_version", lambda _: "1.0")
    for threads in (1, 2):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        found = report()
        assert found.problems == ()
        assert (found.cores, found.memory_bytes) == (1.5, 3 * 2**29)
        assert ", 1.5 cores to use\n" in str(found)
        assert "memory       1.5 GiB to use\n" in str(found)
    monkeypatch.setattr(doctor, "memory_limit", lambda: None)
    assert "memory       unknown\n" in str(report())


def test_the_caches_are_those_that_the_kernels_go_by(monkeypatch):
    monkeypatch.setattr(kernels, "_caches", lambda: (48 << 10, 2 << 20, 0, True))
    found = report()
    assert found.caches_bytes == (48 << 10, 2 << 20, 0)
    assert "caches       48 KiB and 2,048 KiB for each core; the kernels" in str(found)
    monkeypatch.setattr(kernels, "_caches", lambda: (32 << 10, 512 << 10, 0, False))
    assert report().caches_bytes is None
    assert "caches       unknown" in str(report())


def test_the_text_says_what_training_does_about_threads_that_wait():
    line = next(line for line in str(report()).splitlines() if line.startswith("threads "))
    assert "wait for one another" in line
    assert "unrolled train --threads" in line


def test_looking_changes_no_random_state():
    before = torch.get_rng_state()
    report()
    assert torch.equal(torch.get_rng_state(), before)
