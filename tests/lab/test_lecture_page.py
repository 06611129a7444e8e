"""docs/lecture.md says nothing that the committed run of the lab did not measure."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from lab_numbers import unbacked

from unrolled import LabConfig
from unrolled.lab import gradients, memory, remedies, sentences, speed
from unrolled.lab.results import VERSION

EXPERIMENTS = [module.EXPERIMENT for module in (sentences, memory, speed, remedies, gradients)]
FURTHER = ("sentences", "memory")  # their results decide on further trials
DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "lecture.md").read_text(encoding="utf-8")
RESULTS = json.loads((DOCS / "lecture" / "results.json").read_text(encoding="utf-8"))
SAID = re.sub(r"\]\([^)]*\)|`[^`\n]*`", "", PAGE)  # without links and commands


def test_every_number_of_the_page_stands_in_the_results_of_its_run():
    assert unbacked(SAID, RESULTS) == []


def test_every_number_of_the_committed_report_stands_in_its_results():
    assert unbacked((DOCS / "lecture" / "report.md").read_text(encoding="utf-8"), RESULTS) == []


def test_the_run_was_a_full_one_of_every_experiment():
    assert list(RESULTS["sections"]) == [experiment.name for experiment in EXPERIMENTS]
    for section in RESULTS["sections"].values():
        settings = section["settings"]
        assert (settings["quick"], settings["long"]) == (False, False)
        assert re.search(rf'"runs": {settings["seeds"]}\b', json.dumps(section["summary"]))


def test_a_page_of_older_comparisons_says_so_and_one_of_the_present_ones_has_their_claims():
    note = f"**This page is of the run of `{RESULTS['timing']['started'][:10]}`, and its comparisons were"
    assert (note in PAGE) == (RESULTS["version"] < VERSION)
    if RESULTS["version"] == VERSION:
        for experiment in EXPERIMENTS:
            section = RESULTS["sections"][experiment.name]
            assert section["settings"]["seeds"] >= LabConfig().seeds
            planned = len(experiment.trials(LabConfig()))
            more = experiment.name in FURTHER
            assert section["trials"] > planned if more else section["trials"] == planned
            for row in experiment.claims(section["summary"]):
                assert f"| {' | '.join(row.values())} |" in PAGE


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\]\((lecture/[^)]*)\)", PAGE))))
def test_what_the_page_shows_is_there(name: str):
    assert (DOCS / name).is_file()


def test_nothing_of_the_machine_that_ran_it_is_in_the_results_but_what_it_is():
    assert not re.findall(r'"/[a-z]+/', json.dumps(RESULTS))
