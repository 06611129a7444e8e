"""The table of a network's figures beside those of controls: a row per model, columns that line up."""

from __future__ import annotations

from unrolled.tasks.run_report import parts_line
from unrolled.tasks.scores import Control, Scores, scores_table


def test_columns_line_up_and_a_missing_figure_is_a_dash():
    values = {"accuracy": 0.8534, "calibration error": 0.031}
    simple = Control("a model with a long name", 12, 0.04, {"accuracy": 0.5})
    table = scores_table(
        "sample", {"validation": Scores(9, values), "test": Scores(1, values)}, 123_456, [simple], str
    )
    above, about, upper, head, *rows = table.splitlines()
    assert above == "9 validation samples, 1 test sample"
    assert about == "Controls are fitted on the same training part and scored on the test part."
    assert upper.split() == ["calibration"]
    assert head.split() == ["model", "accuracy", "error", "parameters", "seconds"]
    assert [row[: len(simple.name)].strip() for row in rows] == [
        "network, validation",
        "network, test",
        simple.name,
    ]
    assert [row.split()[-4:] for row in rows] == [
        ["0.8534", "0.031", "123,456", "–"],
        ["0.8534", "0.031", "123,456", "–"],
        ["0.5", "–", "12", "0.0"],
    ]
    assert len({len(line) for line in (head, *rows)}) == 1


def test_columns_that_have_no_room_follow_below_with_the_names_again():
    values = {f"mae column{number}": number + 0.5 for number in range(30)}
    table = scores_table("sample", {"validation": None, "test": Scores(3, values)}, 7, [], str)
    assert max(map(len, table.splitlines())) <= 100
    assert table.count("network, test") > 1
    figures = [cell for line in table.splitlines() if "network" in line for cell in line.split()[2:]]
    assert figures == [f"{value:.4g}" for value in values.values()] + ["7", "–"]


def test_parts_are_named_as_training_validation_and_test_samples_and_no_empty_one_is():
    assert (
        parts_line({"train": 1200, "validation": 1, "test": 0}, "sample")
        == "1,200 training samples, 1 validation sample"
    )
