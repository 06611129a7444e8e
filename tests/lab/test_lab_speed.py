"""Speed: what counts as useful, that packing trains on what padding does, and that the answer follows."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lab_numbers import unbacked, without_timing

from unrolled import LabConfig, lab
from unrolled.data import Batch
from unrolled.errors import DataError
from unrolled.lab import speed
from unrolled.lab import speed_batches as batching
from unrolled.lab.learning import Network, NetworkSettings
from unrolled.lab.speed import FAMILIES, Runner, held_out
from unrolled.lab.speed_batches import FrameModel, Signals, TextModel, Texts, Variant, texts
from unrolled.lab.speed_report import answer
from unrolled.spec import ModelConfig

IGNORED = -100
SEQUENCES, LONG_TEXT = FAMILIES[:2]
SMALL = {"train_targets": 4096, "held_targets": 1024, "targets": 3000, "warmup_targets": 2000}
SMALL |= {"embedding_size": 8, "hidden_size": 12, "rounds": 2}


@pytest.fixture(scope="module")
def text() -> Texts:
    return texts(4096, 1024, 256)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> lab.Lab:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speed, "QUICK", speed.QUICK | SMALL)
        return lab.run(LabConfig("speed", quick=True, seeds=1, out=str(tmp_path_factory.mktemp("lab"))))


@pytest.fixture(scope="module")
def document(found: lab.Lab) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads(found.results.read_text())
    return stored


@pytest.fixture(scope="module")
def trials(found: lab.Lab) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((found.out / "trials.json").read_text())["trials"]
    return stored


def summary(document: dict[str, Any]) -> dict[str, Any]:
    stored: dict[str, Any] = document["sections"]["speed"]["summary"]
    return stored


def first(name: str, text: Texts, count: int, **changes: Any) -> list[tuple[Batch, bool]]:
    variant = Variant("one", "one", batching=name, **changes)
    return list(itertools.islice(batching.reads(variant, text, seed=3, warmup_targets=2000), count))


def sequences(text: Texts) -> list[tuple[list[int], list[int]]]:
    """Cut the paragraphs out of the row of ids by hand: what each reads, and what it predicts."""
    ids, starts = text.paragraphs.ids.tolist(), text.paragraphs.starts.tolist()
    ends = [*starts[1:], len(ids) - 1]
    return [(ids[a:b], ids[a + 1 : b + 1]) for a, b in zip(starts, ends, strict=True)]


def pieces(batch: Batch) -> list[tuple[list[int], list[int]]]:
    """Read the sequences of a batch back, step by step: a reset or a row's first step starts one."""
    found = []
    for row in range(batch.inputs.shape[1]):
        for t in range(batch.inputs.shape[0]):
            target = int(batch.targets[t, row])
            if target == IGNORED or (batch.lengths is not None and t >= batch.lengths[row]):
                break
            if t == 0 or (batch.resets is not None and batch.resets[t, row]):
                found.append(([], []))
            found[-1][0].append(int(batch.inputs[t, row]))
            found[-1][1].append(target)
    return found


def test_every_number_of_the_section_stands_in_the_results(found: lab.Lab, document: dict[str, Any]):
    assert unbacked(found.report.read_text(), document) == []


def test_a_quick_run_gives_the_same_for_a_seed_but_for_the_clock(
    trials: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(speed, "QUICK", speed.QUICK | SMALL)
    lab.run(LabConfig("speed", quick=True, seeds=1, out=str(tmp_path)))
    again = json.loads((tmp_path / "trials.json").read_text())
    for key, trial in again["trials"].items():
        assert without_timing(trial) == without_timing(trials[key])
        for variant in trial["result"]["variants"].values():
            assert len(variant["nats"]) == SMALL["rounds"] + 1
            assert variant["nats"][-1] < variant["nats"][0]


def test_the_summary_without_the_clock_has_no_figure_that_the_clock_decides(document: dict[str, Any]):
    left = without_timing(summary(document))
    for family in left["families"]:
        assert all(row.keys() == {"name", "factor"} for row in family["rows"])


def test_the_picture_and_a_table_a_family_are_there(found: lab.Lab, document: dict[str, Any]):
    report = found.report.read_text()
    (picture,) = found.figures
    assert picture.stat().st_size > 10_000
    assert f"]({picture.name})" in report
    for family in summary(document)["families"]:
        assert f"### {family['title']}" in report
        assert all(f"| {row['name']} |" in report for row in family["rows"])


def test_every_factor_of_the_question_is_in_the_quick_plan():
    plan = speed.trials(LabConfig("speed", quick=True, seeds=2))
    assert [cell.key for cell in plan] == [f"speed/{f.name}/seed={s}" for f in FAMILIES for s in (0, 1)]
    factors = {variant["factor"] for cell in plan for variant in cell.settings["variants"]}
    wanted = {"length buckets", "packing", "BPTT window", "batch size", "carried state", "length warm-up"}
    assert wanted | {"frame stacking", "convolution"} <= factors
    full = speed.trials(LabConfig("speed", seeds=1))
    assert {cell.settings["threads"] for cell in full} == {2}
    assert all(cell.settings["seconds"] > 0 for cell in full)


@pytest.mark.parametrize("name", ["padded", "lengths", "buckets", "bucket lengths", "packed", "short first"])
def test_each_batching_gives_whole_sequences_and_counts_their_targets(text: Texts, name: str):
    known = sequences(text)
    assert sum(len(inputs) for inputs, _ in known) == text.paragraphs.num_targets
    for batch, fresh in first(name, text, 6, batch_size=8):
        seen = pieces(batch)
        assert fresh
        assert all(piece in known for piece in seen)
        assert batching.useful(batch) == sum(len(inputs) for inputs, _ in seen) <= batch.inputs.numel()


@pytest.mark.parametrize("name", ["padded", "lengths", "buckets", "packed"])
def test_an_epoch_has_every_sequence_once(text: Texts, name: str):
    batches = -(-len(text.paragraphs.starts) // 8)
    seen = [piece for batch, _ in first(name, text, batches, batch_size=8) for piece in pieces(batch)]
    assert sorted(seen) == sorted(sequences(text))


def test_short_sequences_come_first_and_all_in_the_end(text: Texts):
    reads = first("short first", text, 60, batch_size=8)
    longest = [max(len(inputs) for inputs, _ in pieces(batch)) for batch, _ in reads]
    everything = max(len(inputs) for inputs, _ in sequences(text))
    assert max(longest[:2]) < everything / 2
    assert max(longest) == everything


@pytest.mark.parametrize(("rows", "steps"), [(1, 64), (4, 16), (4, 0)])
def test_windows_of_long_text_hold_every_target_once(text: Texts, rows: int, steps: int):
    each = 4096 // rows
    windows = first("windows", text, each // (steps or each), batch_size=rows, bptt_steps=steps)
    targets = torch.cat([batch.targets for batch, _ in windows]).T.flatten()
    assert targets.tolist() == text.long_text.ids[1:].tolist()
    assert sum(batching.useful(batch) for batch, _ in windows) == 4096
    assert [fresh for _, fresh in windows] == [True] + [False] * (len(windows) - 1)
    cold = first("windows", text, 3, batch_size=4, bptt_steps=16, carried=False)
    assert all(fresh for _, fresh in cold)


def test_packing_with_resets_trains_on_what_padding_trains_on(text: Texts):
    model = TextModel(ModelConfig(text.tokens.size, 8, 16), seed=1).double()
    split, rows = text.paragraphs, np.arange(3, 15)
    losses, gradients, sizes = [], [], []
    for batch in (batching.padded(split, rows), batching.packed(split, rows)):
        model.zero_grad()
        nats, count, _ = model.loss(batch, model.initial_state(batch.inputs.shape[1]))
        assert count == batching.useful(batch)
        nats.backward()
        losses.append(float(nats.detach()))
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
        sizes.append((batching.useful(batch), batch.inputs.shape))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)  # the loss itself is summed in float32
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)
    assert sizes[0][0] == sizes[1][0]
    assert sizes[0][1][0] == sizes[1][1][0]
    assert sizes[0][1][1] > sizes[1][1][1]


@pytest.mark.parametrize("front", ["stacked", "convolved"])
def test_a_step_of_several_characters_reads_nothing_that_it_predicts(text: Texts, front: str):
    model = FrameModel(ModelConfig(text.tokens.size, 8, 16), front=front, frames=4, boundary=0, seed=0)
    ((batch, _),) = first("windows", text, 1, batch_size=2, bptt_steps=32)

    def loss(given: Batch) -> tuple[float, int]:
        nats, count, _ = model.loss(given, model.initial_state(2))
        return float(nats.detach()), count

    before = loss(batch)
    assert before[1] == 64
    changed = batch.inputs.clone()
    changed[29:] = 7  # after what the last step reads: its targets are those of steps 28 to 31
    assert loss(Batch(changed, batch.targets)) == before
    changed[28] = 8
    assert loss(Batch(changed, batch.targets)) != before


@pytest.mark.parametrize("front", ["stacked", "convolved"])
def test_several_characters_a_step_in_two_windows_are_as_in_one(text: Texts, front: str):
    model = FrameModel(ModelConfig(text.tokens.size, 8, 16), front=front, frames=4, boundary=0, seed=0)
    ((batch, _),) = first("windows", text, 1, batch_size=2, bptt_steps=32)
    whole, _, _ = model.loss(batch, model.initial_state(2))
    state, total = model.initial_state(2), 0.0
    for part in (slice(0, 12), slice(12, 32)):
        nats, _, state = model.loss(Batch(batch.inputs[part], batch.targets[part]), state)
        total += float(nats.detach())
    assert total == pytest.approx(float(whole.detach()), rel=1e-5)


def test_what_is_trained_is_looked_at_on_other_text(text: Texts):
    settings = speed.trials(LabConfig("speed", quick=True, seeds=1))[0].settings | SMALL
    runner = Runner(LONG_TEXT.variants[0], text, settings)
    before = [p.detach().clone() for p in runner.model.parameters()]
    runner.warm_up()
    assert all(torch.equal(p, b) for p, b in zip(runner.model.parameters(), before, strict=True))
    start = held_out(runner.model, text, "windows")
    runner.train_to(1.0)
    assert runner.targets >= 3000
    assert runner.result()["useful_share"] == 1  # a long text has no padding
    assert runner.seconds > 0
    end = held_out(runner.model, text, "windows")
    assert start is not None
    assert end is not None
    assert end < start
    held = text.held_paragraphs.ids.tobytes()
    assert held not in text.paragraphs.ids.tobytes()


def test_a_trial_that_seconds_end_keeps_everything_under_the_clock(text: Texts):
    plan = speed.trials(LabConfig("speed", quick=True, seeds=1))[0].settings
    settings = plan | SMALL | {"targets": None, "seconds": 0.02}
    runner = Runner(SEQUENCES.variants[0], text, settings)
    runner.look()
    runner.train_to(1.0)
    runner.look()
    assert runner.seconds >= 0.02
    assert without_timing(runner.result()) == {}


def test_a_text_that_is_too_short_is_refused_in_one_line():
    with pytest.raises(DataError, match=r"^standard library: expected at least 1000000000 characters"):
        texts(10**9, 1024, 256)


def curve(seconds: list[float], targets: list[int], nats: list[float | None]) -> dict[str, Any]:
    return {"seconds": seconds, "targets": targets, "nats": nats}


def test_the_loss_at_equal_wall_clock_lies_on_the_line_between_two_points():
    slow = curve([0.0, 2.0, 4.0], [0, 10, 20], [5.0, 4.0, 3.0])
    fast = curve([0.0, 1.0, 3.0], [0, 40, 120], [5.0, 3.0, 2.0])
    seconds = speed.equal_seconds([slow, fast])
    assert seconds == 3.0
    assert speed.loss_at(seconds, slow) == 3.5
    assert speed.loss_at(seconds, fast) == 2.0
    assert speed.loss_at(seconds, curve([0.0, 4.0], [0, 1], [5.0, None])) is None
    assert speed.speedup(fast, slow) == 8.0


def test_a_variant_that_diverged_ends_there_and_shortens_no_other(text: Texts):
    plan = speed.trials(LabConfig("speed", quick=True, seeds=1))[0].settings
    runner = Runner(SEQUENCES.variants[0], text, plan | SMALL | {"learning_rate": 1e38})
    for share in (0.5, 1.0):
        runner.train_to(share)
        runner.look()
    assert runner.result()["nats"] == [None, None]
    lost = curve([0.0, 0.1], [0, 3], [5.0, None])
    assert speed.equal_seconds([lost, curve([0.0, 2.0], [0, 9], [5.0, 4.0])]) == 2.0
    assert speed.speedup(curve([0.0, 0.0], [0, 0], [5.0, None]), lost) == 0.0


def test_a_busy_moment_that_hits_one_round_of_both_leaves_the_speedup():
    one = curve([0.0, 1.0, 11.0, 12.0], [0, 10, 20, 30], [1.0] * 4)
    two = curve([0.0, 2.0, 22.0, 24.0], [0, 10, 20, 30], [1.0] * 4)
    assert speed.speedup(one, two) == 2.0
    long_update = curve([0.0, 1.0, 1.0, 2.0], [0, 10, 10, 20], [1.0] * 4)
    assert speed.speedup(long_update, one) == 1.0


@pytest.mark.parametrize(
    ("ratios", "differences", "expected"),
    [
        ([1.2, 1.5], [-0.1, 0.01], ("faster", "as good")),
        ([1.2, 1.5], [0.03, 0.2], ("faster", "worse")),
        ([1.04, 1.5], [-0.2, -0.03], ("as fast", "better")),
        ([0.5, 0.7], [0.01, 0.3], ("slower", "as good")),
        ([2.0, 2.0], None, ("faster", "diverged")),
    ],
)
def test_a_verdict_needs_all_runs_to_agree(
    ratios: list[float], differences: list[float] | None, expected: tuple[str, str]
):
    found = None if differences is None else lab.spread(differences)
    assert speed.verdict(lab.spread(ratios), found) == expected


def line(words: str, told: dict[str, Any]) -> str:
    """Return the line of the answer that holds these words."""
    (found,) = (text for text in answer(told).splitlines() if words in text)
    return found


def test_the_plain_answer_changes_with_the_numbers(document: dict[str, Any]):
    good, worse = (
        "**Faster, and not clearly worse at equal wall-clock**",
        "**Faster, and worse all the same**",
    )
    best, told = "Sequences of unequal length: ", summary(document)
    for family in told["families"]:
        for row in family["rows"]:
            row["timing"] |= {"pace": "as fast", "quality": "as good"}
    told["timing"] |= {"faster": 0, "faster_and_worse": 0}
    assert line(good, told) == f"- {good}: none."
    assert "no variant beat the baseline's loss" in line(best, told)
    assert "none was faster" in answer(told)
    row = next(row for row in told["families"][0]["rows"] if row["factor"] == "packing")
    row["timing"] |= {"pace": "faster", "quality": "better"}
    row["timing"]["ratio"]["median"], row["timing"]["difference"]["median"] = 2.5, -0.125
    told["timing"]["faster"] = 1
    assert "2.50 times the targets per second, 0.125 nats lower" in line(good, told)
    assert "the lowest loss at equal wall-clock was that of packing" in line(best, told)
    assert "none of these did worse" in answer(told)
    row["timing"]["quality"], row["timing"]["difference"]["median"] = "worse", 0.25
    told["timing"]["faster_and_worse"] = 1
    assert line(good, told) == f"- {good}: none."
    assert line(worse, told).startswith(f"- {worse}: packing")
    assert "0.250 nats higher" in line(worse, told)
    assert "targets per second alone mislead" in answer(told)


def test_the_class_of_a_signal_is_where_its_spectrum_peaks():
    batch = Signals().draw(64, torch.Generator().manual_seed(4))
    cycles = np.geomspace(4, 32, 8)
    peaks = np.abs(np.fft.rfft(batch.inputs[..., 0].numpy(), axis=0)).argmax(axis=0)
    found = np.abs(peaks[:, None] - cycles).argmin(axis=1)
    assert (found == batch.targets.numpy()).mean() > 0.9


@pytest.mark.parametrize("front", ["none", "stacked", "convolved"])
def test_a_front_leaves_a_signals_label_and_is_a_convolution(front: str):
    frames = 1 if front == "none" else 8
    sizes = NetworkSettings(hidden_size=16, front=front, frames=frames)
    model = Network(Signals(), sizes, torch.Generator().manual_seed(0))
    batch = Signals().draw(4, torch.Generator().manual_seed(4))
    nats, count, _ = model.loss(batch, model.initial_state(4))
    assert count == 4
    assert float(nats.detach()) / count == pytest.approx(np.log(8), abs=0.3)
    if front == "convolved":
        seen: list[torch.Tensor] = []
        model.stack.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        model(batch.inputs)
        weight = model.front.convolution.weight[:, None]  # [channels, 1, reach]
        rows = torch.nn.functional.pad(batch.inputs[..., 0].T[:, None], (8, 0))
        wanted = torch.conv1d(rows, weight, model.front.convolution.bias, stride=frames).relu()
        torch.testing.assert_close(seen[0], wanted.permute(2, 0, 1))
