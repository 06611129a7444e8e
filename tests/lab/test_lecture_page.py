"""docs/lecture.md says nothing that the committed run of the lab did not measure."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from lab_numbers import unbacked

from unrolled.lab.registry import EXPERIMENTS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "lecture.md").read_text(encoding="utf-8")
RESULTS = json.loads((DOCS / "lecture" / "results.json").read_text(encoding="utf-8"))
SAID = re.sub(r"\(lecture/[^)]*\)|`[^`\n]*`", "", PAGE)  # without links and commands


def test_every_number_of_the_page_stands_in_the_results_of_its_run():
    assert unbacked(SAID, RESULTS) == []


def test_every_number_of_the_committed_report_stands_in_its_results():
    assert unbacked((DOCS / "lecture" / "report.md").read_text(encoding="utf-8"), RESULTS) == []


def test_the_run_was_a_full_one_of_every_experiment_with_three_seeds():
    assert set(RESULTS["sections"]) == {experiment.NAME for experiment in EXPERIMENTS}
    for section in RESULTS["sections"].values():
        assert section["settings"]["quick"] is False
    assert {cell["settings"].get("seed") for cell in RESULTS["cells"].values()} >= {0, 1, 2}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\]\((lecture/[^)]*)\)", PAGE))))
def test_what_the_page_shows_is_there(name: str):
    assert (DOCS / name).is_file()


def test_nothing_of_the_machine_that_ran_it_is_in_the_results_but_what_it_is():
    assert not re.findall(r'"/[a-z]+/', json.dumps(RESULTS))
