"""What is reported of gradients: the question answered, tables and pictures, all from the summary."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unrolled.lab.experiment import Found, plan_of
from unrolled.lab.report import lines, picture, table
from unrolled.lab.spread import number, spread_text

__all__ = ["KINDS", "answer", "claims", "figures", "likelihood", "report"]

KINDS = plan_of("gradients")["kinds"]
NAMES = {kind: found["words"] for kind, found in KINDS.items()}
PLURALS = {kind: found["several"] for kind, found in KINDS.items() if "several" in found}
QUESTION = "Are you likely to find exploding or vanishing gradients in RNNs or LSTMs?"
LIKELY = 0.5  # the share of runs from which on it is
PICTURE, LOSSES = "gradients-trained.png", "gradients-losses.png"


def figures(summary: Found, curves: Found, folder: Path) -> None:
    """Draw a picture of all starts of a kind, one of the orthogonal starts after training, one of losses."""
    axes = ("lag, steps back", "ln of the gradient, in parts of that at lag 0")
    pictures = {
        f"gradients-{kind}.png": (found, f"{kind.upper()} at the start")
        for kind, found in curves["start"].items()
    }
    pictures[PICTURE] = curves["trained"], f"The same starts after training ({summary['trained']})"
    for name, (found, title) in pictures.items():
        drawn = {start: curve for start, curve in found.items() if curve is not None}
        title = f"{title}: what is left of a gradient"
        lines(folder / name, drawn, axes, title, levels={"neither grows nor falls": 0.0})
    title = f"Training by SGD at a rate of {curves['learning_rate']:g}: median and spread of the seeds"
    lines(folder / LOSSES, curves["losses"], ("optimizer steps", "nats per character"), title, log_y=True)


def report(summary: Found) -> str:
    """Return the section in Markdown."""
    starts = (picture(f"gradients-{kind}.png", f"Gradients by lag of {NAMES[kind]}") for kind in KINDS)
    return "\n".join(
        [
            f"### {QUESTION}\n",
            answer(summary),
            "### At the start, and after training\n",
            _introduction(summary),
            *starts,
            picture(PICTURE, "Gradients by lag after training"),
            _flows(summary),
            "### How often training diverges\n",
            picture(LOSSES, "Losses with clipping and without"),
            _divergence(summary),
        ]
    )


def _introduction(summary: Found) -> str:
    training = summary["training"]
    rates = " and ".join(number(rate) for rate in training["learning_rates"])
    return (
        f"Each network has {training['hidden_size']} units and reads {number(training['characters'], 9)} "
        "characters of the standard library, from character to character, in batches of "
        f"{training['rows']} rows and {training['bptt_steps']} characters. What becomes of its gradient by "
        f"training is measured after {number(training['trained_steps'], 9)} steps of the trainer's own "
        f"AdamW at {training['adamw_rate']:g}, clipped to {number(training['clip'])}; a network counts as "
        f"trained if it ends below {number(summary['bigram_nats_per_char'])} nats per character, which a "
        "table of pairs has "
        "on the same text. How often training explodes is measured over "
        f"{training['steps']} steps of plain SGD, which divides no gradient by its size, at "
        f"learning rates of {rates}, with the gradient clipped to a norm of {number(training['clip'])} and "
        "not clipped. The rate is the slope of the logarithm of a loss's gradient with respect to the "
        "state, by lag; of an LSTM's two states it is that of the one through which more is left. A gradient "
        f"vanishes if at its rate less than 1/{number(summary['fold'])} is left {training['lags']} steps "
        f"back, explodes if it has grown by more than {number(summary['fold'])}, and holds in between; it is "
        "measured on text that was not trained on. The Lyapunov exponent is that of the state itself: above "
        "0 the network is chaotic.\n"
    )


def _flows(summary: Found) -> str:
    trained, rows = summary["trained"], []
    for found in summary["starts"].values():
        after = found["trained"][trained]
        for when, flow in (("at the start", found["start"]), ("trained", after)):
            end = "" if flow is found["start"] else spread_text(after["end_nats_per_char"])
            below = "" if flow is found["start"] else f"{after['below_bigram']} of {after['runs']}"
            row = {
                "start": found["words"],
                "when": when,
                "nats per character": end,
                "below the table of pairs": below,
                "rate, nats per step": "none" if flow["rate"] is None else spread_text(flow["rate"]),
                "halves every, steps": _steps(flow["half_life"]),
                "Lyapunov exponent": "none" if flow["lyapunov"] is None else spread_text(flow["lyapunov"]),
                "gradient, runs": ", ".join(
                    f"{name} {count}" for name, count in flow["fates"].items() if count
                ),
            }
            rows.append(row)
    return table(rows)


def _divergence(summary: Found) -> str:
    note = (
        "By AdamW, and by SGD at each learning rate, clipped and free: runs that diverged; the largest norm "
        "of the gradient, "
        "before it is clipped; the final nats per character. A run diverges if its loss is not finite, or "
        "ends above the one that it began with.\n"
    )
    rows = []
    for found in summary["starts"].values():
        each = {name: found["trained"][name] for name in summary["paces"]}
        told = {
            name: f"{run['diverged']} of {run['runs']}; {spread_text(run['largest_norm'])}; "
            f"{spread_text(run['end_nats_per_char'])}"
            for name, run in each.items()
        }
        rows.append({"start": found["words"], **told})
    return f"{table(rows)}\n{note}"


def answer(summary: Found) -> str:
    """Return the answer in a sentence, a table with a column per kind of cell, and RNNs beside LSTMs."""
    kinds = summary["kinds"]
    usual = {name: kind["usual"] for name, kind in kinds.items()}
    compared = [
        _beside(
            f"{words} gradients {fate}",
            {name: (kind[when]["fates"][key], kind[when]["runs"]) for name, kind in usual.items()},
        )
        for key, fate in (("vanishes", "vanish"), ("explodes", "explode"))
        for when, words in (("start", "At the start"), ("trained", "After training"))
    ]
    exploded = {name: (kind["exploded"]["free"], kind["trainings"]) for name, kind in kinds.items()}
    compared.append(_beside("While SGD trains without clipping they explode", exploded))
    columns = {NAMES[name]: _kind(kind, summary) for name, kind in kinds.items()}
    facts = dict.fromkeys(fact for found in columns.values() for fact in found)
    rows = [
        {"": fact, **{name: found.get(fact, "not run") for name, found in columns.items()}} for fact in facts
    ]
    return "\n".join([_short(kinds), table(rows), f"**RNNs beside LSTMs.** {' '.join(compared)}\n"])


def _short(kinds: Found) -> str:
    """Return the answer in one sentence."""
    texts = []
    for name, kind in kinds.items():
        after = kind["usual"]["trained"]
        vanishing = likelihood(after["fates"]["vanishes"], after["runs"])
        exploding = likelihood(kind["exploded"]["free"], kind["trainings"])
        texts.append(f"in {NAMES[name]} vanishing ones are {vanishing}, exploding ones {exploding}")
    lead = "**In short,** of gradients that vanish after training and explode while SGD goes unclipped:"
    return f"{lead} {'; '.join(texts)}.\n"


def likelihood(count: int, runs: int) -> str:
    """Return how likely an event is that was seen in so many of the runs."""
    if not runs:
        return "not known, as none was trained"
    return "not found" if count == 0 else "likely" if count >= LIKELY * runs else "possible"


def _kind(kind: Found, summary: Found) -> dict[str, str]:
    """Return what is found of a kind of cell: with recurrent weights of gain 1, then with all starts."""
    usual = kind["usual"]
    row = {}
    for fate in ("vanishes", "explodes"):
        for when, words in (("start", "at the start"), ("trained", "after training")):
            found = usual[when]
            row[f"gain 1: {fate} {words}"] = f"{found['fates'][fate]} of {found['runs']} runs"
    row["halves every, steps: start, trained"] = ", ".join(
        _steps(usual[when]["half_life"]) for when in ("start", "trained")
    )
    row["trained: better than a table of pairs"] = f"{kind['below_bigram']} of {kind['runs']} runs"
    for found in kind["gains"]:
        fates, runs = found["fates"]["explodes"], found["runs"]
        row[f"gain {number(found['gain'])}: explodes at the start"] = f"{fates} of {runs} runs"
        row[f"gain {number(found['gain'])}: chaotic at the start"] = f"{found['chaotic']} of {runs} runs"
    passes = f"norm passes {number(summary['explosion'])} in training"
    for event, words in (("exploded", passes), ("diverged", "training diverges")):
        for way, how in (("free", "SGD, free"), ("clipped", "SGD, clipped")):
            row[f"all starts: {words}, {how}"] = f"{kind[event][way]} of {kind['trainings']} runs"
        own = summary["trained"]
        row[f"all starts: {words}, {own}"] = f"{kind[event][own]} of {kind['runs']} runs"
    for when, words in (("start", "at the start"), ("trained", "after training")):
        row[f"holds in every run {words}"] = "; ".join(kind["holding"][when]) or "none"
    return row


def _steps(half_life: float | None) -> str:
    return "does not fall" if half_life is None else number(half_life)


def _beside(lead: str, counts: Mapping[str, tuple[int, int]]) -> str:
    """Say to which of the two kinds something happens in a larger share of its runs."""
    shares = {name: counts[name][0] / max(counts[name][1], 1) for name in PLURALS}
    told = {name: f"{count} of {runs}" for name, (count, runs) in counts.items()}
    if not all(counts[name][1] for name in PLURALS):
        return f"{lead}: {', '.join(f'{words} {told[name]} runs' for name, words in PLURALS.items())}."
    less, more = sorted(PLURALS, key=lambda name: shares[name])
    if shares[less] == shares[more]:
        both = f"equally often in both ({told[less]} runs each)" if shares[less] else "in neither"
        return f"{lead} {both}."
    return f"{lead} more often in {PLURALS[more]} ({told[more]} runs) than in {PLURALS[less]} ({told[less]})."


def claims(summary: Found) -> list[dict[str, str]]:
    """Return a row per kind of cell that the question is about: vanishing and exploding."""
    training, rows = summary["training"], []
    for name in PLURALS:
        kind = summary["kinds"][name]
        start, after = (kind["usual"][when] for when in ("start", "trained"))
        gains = ", ".join(
            f"{found['fates']['explodes']} of {found['runs']} at gain {number(found['gain'])}"
            for found in kind["gains"]
        )
        arms = f"{PLURALS[name]} of {training['hidden_size']} units, all starts, {kind['runs']} runs"
        rows += [
            {
                "claim": f"gradients vanish in {PLURALS[name]}",
                "arms": arms,
                "caps": f"{number(training['trained_steps'], 9)} steps of {summary['trained']}",
                "verdict": f"gain 1: {_share(start, 'vanishes')} at the start, "
                f"{_share(after, 'vanishes')} trained",
            },
            {
                "claim": f"gradients explode in {PLURALS[name]}",
                "arms": arms,
                "caps": f"{training['steps']} steps of SGD",
                "verdict": f"at the start {gains}; {kind['exploded']['free']} of {kind['trainings']} while "
                "SGD trains without clipping",
            },
        ]
    return rows


def _share(flow: Found, fate: str) -> str:
    return f"{flow['fates'][fate]} of {flow['runs']} runs"
