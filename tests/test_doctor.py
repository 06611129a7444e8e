"""The report of the machine: complete, printable, and honest where something is missing."""

import json
import os
import sys

import pytest

pytest.importorskip("torch")

import torch

from unrolled import doctor
from unrolled.doctor import report


def test_the_report_survives_json():
    found = report().to_dict()
    assert json.loads(json.dumps(found)) == json.loads(json.dumps(report().to_dict()))
    assert set(found["packages"]) == {"unrolled", "torch", "numpy", "matplotlib", "rich"}


def test_the_report_names_every_backend_and_what_auto_takes_for_each_cell():
    found = report()
    assert set(found.backends) == {"reference", "torch", "native"}
    assert found.backends["reference"].available
    assert found.backends["torch"].available
    assert not found.backends["native"].available
    assert "native" in found.backends["native"].reason or "build" in found.backends["native"].reason
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


@pytest.fixture
def without_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)


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


def test_a_single_thread_on_many_cores_is_the_loud_first_line(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(doctor, "_cores", lambda: 8)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert str(report()).startswith("PROBLEM: torch uses 1 thread only, of 8 cores: OMP_NUM_THREADS is set")


def test_more_threads_than_cores_is_a_problem(monkeypatch):
    monkeypatch.setattr(doctor, "_cores", lambda: 2)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert "4 threads on 2 usable cores" in report().problems[0]


def test_a_healthy_machine_has_no_problem(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", doctor._cores)
    monkeypatch.setattr(doctor, "_version", lambda _: "1.0")
    assert report().problems == ()


def test_a_missing_plotting_package_is_named(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", doctor._cores)
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "rich" else "1.0")
    assert report().problems[0].startswith("rich not installed")


def test_cores_are_those_that_this_process_may_use():
    assert 1 <= report().cores <= (os.cpu_count() or 1)
