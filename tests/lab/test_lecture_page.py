"""docs/lecture.md says nothing that the committed run of the lab did not measure."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from lab_numbers import unbacked

from unrolled import LabConfig
from unrolled.lab import gradients, memory, remedies, sentences, speed

EXPERIMENTS = [module.EXPERIMENT for module in (sentences, memory, speed, remedies, gradients)]
DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "lecture.md").read_text(encoding="utf-8")
RESULTS = json.loads((DOCS / "lecture" / "results.json").read_text(encoding="utf-8"))
SAID = re.sub(r"\(lecture/[^)]*\)|`[^`\n]*`", "", PAGE)  # without links and commands


def test_every_number_of_the_page_stands_in_the_results_of_its_run():
    assert unbacked(SAID, RESULTS) == []


def test_every_number_of_the_committed_report_stands_in_its_results():
    assert unbacked((DOCS / "lecture" / "report.md").read_text(encoding="utf-8"), RESULTS) == []


def test_the_run_was_a_full_one_of_every_experiment_with_three_seeds():
    assert list(RESULTS["sections"]) == [experiment.name for experiment in EXPERIMENTS]
    for experiment in EXPERIMENTS:
        section = RESULTS["sections"][experiment.name]
        assert section["settings"] == {"quick": False, "long": False, "seeds": 3}
        curves = (
            5 * 3 if experiment.name == "memory" else 0
        )  # five kinds of cell on MNIST-1D, whose file is not here
        assert section["trials"] == len(experiment.trials(LabConfig(seeds=3))) + curves
        assert re.search(r'"runs": 3\b', json.dumps(section["summary"]))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\]\((lecture/[^)]*)\)", PAGE))))
def test_what_the_page_shows_is_there(name: str):
    assert (DOCS / name).is_file()


def test_nothing_of_the_machine_that_ran_it_is_in_the_results_but_what_it_is():
    assert not re.findall(r'"/[a-z]+/', json.dumps(RESULTS))
