"""The ten sentences through one recurrent neuron, a layer of them, and an LSTM."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from unrolled import figures as draw
from unrolled.data import SENTENCES, Document, LineBatches, Split, encode_text
from unrolled.figures import visible
from unrolled.lab.experiment import Done, Experiment, Found, Json, Trial, pick, seeded
from unrolled.lab.report import picture, table
from unrolled.lab.spread import band, number, shortened, spread, spread_text, within_cap, within_text
from unrolled.spec import CELLS, LabConfig, ModelConfig
from unrolled.tasks import LanguageModel
from unrolled.tokens import CharTokens, Tokens
from unrolled.train import Schedule, fit

__all__ = ["EXPERIMENT"]

NAME = "sentences"
QUICK_STEPS, STEPS = 300, 2000
MODELS: dict[str, dict[str, Any]] = {
    "neuron": {"cell": "rnn", "hidden_size": 1, "embedding_size": 1},
    "layer": {"cell": "rnn", "hidden_size": 64, "embedding_size": 16},
    "lstm": {"cell": "lstm", "hidden_size": 64, "embedding_size": 16},
}
SHARED: dict[str, Any] = {
    "learning_rate": 0.02,  # at 0.01 some LSTMs complete fewer within the quick run's steps
    "look_every": 10,  # steps between two points of the curve, each with a look at the completions
    "shown_steps": 4,  # of the first sentence, in the equations
    "threads": 1,  # of networks so small, a second thread costs more than it gives
}
TEXT = "\n".join(SENTENCES) + "\n"
FIRST_WORDS = [sentence.split()[0] for sentence in SENTENCES]
LONGEST = 2 * max(map(len, SENTENCES))  # characters that a completion may take
UNIT = 0  # which unit of the layer is looked at

SHOWN = {"neuron": "The neuron", "layer": "One unit of the layer", "lstm": "One unit of the LSTM"}
WORDS = {"neuron": "one neuron", "layer": "a layer", "lstm": "an LSTM"}
PARTS = {
    "input": "what goes in at step t: w_ih · x_t",
    "recurrent": "what comes back from step t − 1: w_hh · h_(t−1)",
    "h": "what goes out: h_t",
}
GATES = {
    "i": "input gate i_t: what is let in",
    "f": "forget gate f_t: what is kept of the long-term state",
    "g": "candidate g_t",
    "o": "output gate o_t: what is let out",
    "c": "long-term state c_t",
    "h": "output h_t",
}
UNITS = {"neuron": PARTS, "layer": PARTS, "lstm": GATES}

Vector = npt.NDArray[np.float64]


def trials(config: LabConfig) -> list[Trial]:
    """Return a trial per model and seed."""
    shared = {"steps": QUICK_STEPS if config.quick else STEPS, **SHARED}
    plan = {model: {"model": model, **sizes, **shared} for model, sizes in MODELS.items()}
    return [t for model, settings in plan.items() for t in seeded(f"{NAME}/{model}", settings, work, config)]


def work(settings: Found) -> Json:
    """Train one model on all sentences, have it complete them, and look at it from all sides."""
    tokens = CharTokens.build([TEXT])
    split = encode_text([Document("sentences", TEXT)], tokens, "lines")
    sizes = {name: settings[name] for name in ("cell", "hidden_size", "embedding_size")}
    model = LanguageModel(ModelConfig(tokens.size, **sizes), seed=settings["seed"])
    begin = time.perf_counter()
    curve, solved_at = _train(model, split, tokens, settings)
    seconds = time.perf_counter() - begin
    sentence = torch.from_numpy(tokens.encode("\n" + SENTENCES[0] + "\n"))
    nats, count = model.evaluate(
        LineBatches(split, batch_size=1, seed=settings["seed"]).epoch(0), carry=False
    )
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "curve": curve,
        "nats_per_char": nats / count,
        "solved_at": solved_at,
        "completions": completions(model, tokens),
        "unit": one_unit(model, sentence[:-1], tokens, steps=settings["shown_steps"]),
        "predictions": _predictions(model, sentence),
        "timing": {"seconds": seconds},
    }


def _train(
    model: LanguageModel, split: Split, tokens: CharTokens, settings: Found
) -> tuple[dict[str, list[float]], int | None]:
    """Return the loss curve, and the step at which all that can be completed first were."""
    batches = LineBatches(split, batch_size=len(SENTENCES), seed=settings["seed"])
    goal = len(set(FIRST_WORDS))
    curve: dict[str, list[float]] = {"step": [], "nats_per_char": []}
    solved_at = None
    steps, every = settings["steps"], settings["look_every"]
    schedule = Schedule(steps, every, settings["learning_rate"])
    for record in fit(model, batches, steps=steps, learning_rate=schedule.learning_rate):
        if schedule.saves_at(record.step):
            curve["step"].append(record.step)
            curve["nats_per_char"].append(record.loss)
            if solved_at is None and completed(completions(model, tokens)) >= goal:
                solved_at = record.step
    return curve, solved_at


def floor_nats() -> float:
    """Return the nats per character of the best possible model: it knows the ten, and nothing of which one.

    That is ln 10 for each sentence, over all characters with their newlines.
    """
    return len(SENTENCES) * math.log(len(SENTENCES)) / len(TEXT)


def unigram_nats() -> float:
    """Return the nats per character of the trivial control, which knows how often each character comes."""
    counts = np.array(list(Counter(TEXT).values()))
    return float(-(counts * np.log(counts / len(TEXT))).sum() / len(TEXT))


def completed(texts: Sequence[str]) -> int:
    """Return how many of the ten sentences were written exactly."""
    return sum(text == sentence for text, sentence in zip(texts, SENTENCES, strict=True))


@torch.inference_mode()
def completions(model: LanguageModel, tokens: CharTokens) -> list[str]:
    """Return what the model writes after the first word of each sentence, always taking the likeliest.

    All are written side by side, each up to the end of a line or LONGEST characters.
    """
    model.eval()
    rows = [torch.from_numpy(tokens.encode("\n" + word)) for word in FIRST_WORDS]
    lengths = torch.tensor([len(row) for row in rows])
    inputs = torch.nn.utils.rnn.pad_sequence(rows)  # [T, B]
    y, state = model.hidden(inputs, model.initial_state(len(rows)), lengths)
    logits = model.readout(y[lengths - 1, torch.arange(len(rows))])  # [B, V]
    drawn = []
    for _ in range(LONGEST):
        logits[:, tokens.unknown] = -math.inf
        drawn.append(logits.argmax(dim=-1))
        logits, state = model.step(drawn[-1], state)
    texts = [tokens.decode(ids) for ids in torch.stack(drawn, dim=1).tolist()]
    return [word + text.partition("\n")[0] for word, text in zip(FIRST_WORDS, texts, strict=True)]


@torch.inference_mode()
def _predictions(model: LanguageModel, sentence: Tensor) -> list[float]:
    """Return, after each character of a sentence, the probability that was given to the next one."""
    logits, _ = model(sentence[:-1, None])  # [T, 1, V]
    shares = logits[:, 0].double().softmax(dim=-1)  # [T, V]
    found: list[float] = shares[torch.arange(len(shares)), sentence[1:]].tolist()
    return found


def one_unit(model: LanguageModel, ids: Tensor, tokens: Tokens, *, steps: int) -> Json:
    """Return unit 0's weights, and for each of the first `steps` steps what comes in and what goes out.

    A gate is activation(weight_ih · x_t + weight_hh · h_{t−1} + bias): "input", "recurrent" and "bias" are
    the three parts, "sum" their sum, "value" the gate; "along" has curves over all steps. x and h_{t−1} are
    the network's own, to the bit; the parts are computed here from these in float64. An LSTM or a plain RNN.

    Args:
        ids: [T] what the network reads, the boundary first.
    """
    x = model.embedding(ids).detach().double().numpy()  # [T, E]
    seen = model.trajectories(ids)[0]._asdict()
    states = {name: seen[name][:, 0].double().numpy() for name in CELLS[model.config.cell].states}  # [T, H]
    before = {name: np.concatenate([np.zeros_like(v[:1]), v[:-1]]) for name, v in states.items()}
    weights = _gates(model)
    parts = [
        {name: _parts(model, name, gate, *row) for name, gate in weights.items()}
        for row in zip(x, before["h"], strict=True)
    ]
    found = []
    for t in range(steps):
        step: Json = {"t": t + 1, "symbol": tokens.decode([int(ids[t])])}
        step |= {"x": x[t].tolist(), "h_before": before["h"][t].tolist(), "parts": parts[t]}
        step |= {name: float(values[t, UNIT]) for name, values in states.items()}
        step |= {"c_before": float(before["c"][t, UNIT])} if "c" in states else {}
        found.append(step)
    if "h" in weights:
        along = {part: [step["h"][part] for step in parts] for part in ("input", "recurrent")}
    else:
        along = {name: [step[name]["value"] for step in parts] for name in weights}
    along |= {name: values[:, UNIT].tolist() for name, values in reversed(states.items())}
    stored = {name: {part: v.tolist() for part, v in gate.items()} for name, gate in weights.items()}
    return {"unit": UNIT, "weights": stored, "steps": found, "along": along}


@torch.no_grad()
def _gates(model: LanguageModel) -> dict[str, dict[str, Vector]]:
    """Return the unit's row of every gate: weight_ih [E], weight_hh [H] and the summed bias []."""
    layer, cell = model.recurrent, CELLS[model.config.cell]
    names = cell.gates if cell.sigmoid else cell.states[:1]  # a plain RNN's one block gives h itself
    rows = {name: place * model.config.hidden_size + UNIT for place, name in enumerate(names)}
    return {
        name: {
            "weight_ih": layer.weight_ih_l0[row].double().numpy(),
            "weight_hh": layer.weight_hh_l0[row].double().numpy(),
            "bias": (layer.bias_ih_l0[row].double() + layer.bias_hh_l0[row].double()).numpy(),
        }
        for name, row in rows.items()
    }


def _parts(
    model: LanguageModel, name: str, gate: dict[str, Vector], x: Vector, before: Vector
) -> dict[str, float]:
    parts = {
        "input": float(gate["weight_ih"] @ x),
        "recurrent": float(gate["weight_hh"] @ before),
        "bias": float(gate["bias"]),
    }
    total = sum(parts.values())
    sigmoid = name in CELLS[model.config.cell].sigmoid
    value = 1 / (1 + np.exp(-total)) if sigmoid else np.tanh(total)
    return {**parts, "sum": total, "value": float(value)}


def summary(done: Sequence[Done]) -> Json:
    """Sum up over seeds; equations and completions are those of the first seed."""
    first = {name: pick(done, model=name)[0] for name in MODELS}
    words = Counter(FIRST_WORDS)
    return {
        "text": {
            "sentences": len(SENTENCES),
            "characters": len(TEXT),
            "completable": len(words),
            "shared_words": sorted(word for word, count in words.items() if count > 1),
            "floor_nats_per_char": floor_nats(),
            "unigram_nats_per_char": unigram_nats(),
        },
        "training": {name: done[0].settings[name] for name in ("steps", "learning_rate", "look_every")},
        "models": {name: _model(pick(done, model=name)) for name in MODELS},
        "shown_seed": first["neuron"].settings["seed"],
        "equations": {name: _equations(run) for name, run in first.items()},
        "read": "\n" + SENTENCES[0] + "\n",
        "completions": [
            {"sentence": s, "models": {name: run.result["completions"][n] for name, run in first.items()}}
            for n, s in enumerate(SENTENCES)
        ],
    }


def _model(runs: Sequence[Done]) -> Json:
    results, settings = [run.result for run in runs], runs[0].settings
    return {
        **{name: settings[name] for name in ("cell", "hidden_size", "embedding_size")},
        "parameters": results[0]["parameters"],
        "nats_per_char": spread([r["nats_per_char"] for r in results]),
        "completed": spread([completed(r["completions"]) for r in results]),
        "solved_at": within_cap([r["solved_at"] for r in results], settings["steps"]),
        "timing": {"seconds": spread([r["timing"]["seconds"] for r in results])},
    }


def _equations(run: Done) -> Json:
    """Return the unit's numbers as they are printed: of one neuron with its weights, else with its parts."""
    unit, sizes = run.result["unit"], {name: run.settings[name] for name in ("hidden_size", "embedding_size")}
    lone = set(sizes.values()) == {1}
    steps = []
    for step in unit["steps"]:
        shown = {name: step[name] for name in ("t", "symbol", "parts", "h", "c", "c_before") if name in step}
        steps.append(shown | ({"x": step["x"][0], "h_before": step["h_before"][0]} if lone else {}))
    weights = {"weights": unit["weights"]["h"]} if lone else {}
    return {"unit": unit["unit"], **weights, **sizes, "steps": steps}


def curves(done: Sequence[Done]) -> Json:
    """Return the losses of all seeds, and of the first what it gave the next character and its unit did."""
    losses, shown = {}, {}
    for name in MODELS:
        runs = pick(done, model=name)
        found = [run.result["curve"] for run in runs]
        losses[name] = band([(one["step"], one["nats_per_char"]) for one in found])
        first = runs[0].result
        shown[name] = {
            "probability": shortened(first["predictions"]),
            "unit": {part: shortened(values) for part, values in first["unit"]["along"].items()},
        }
    return {"loss": losses, "shown": shown}


def figures(summary: Found, curves: Found, folder: Path) -> None:
    """Draw the loss of all models over steps, what each gave the next character, and one unit of each."""
    text, read = summary["text"], list(summary["read"])
    draw.series(
        folder / "sentences-loss.png",
        curves={WORDS[name]: curve for name, curve in curves["loss"].items()},
        xlabel="optimizer steps",
        ylabel="nats per character",
        title="The ten sentences: training loss, median of the seeds and their spread",
        levels={
            "how often a character comes": text["unigram_nats_per_char"],
            "the best possible": text["floor_nats_per_char"],
        },
        log_y=True,
    )
    shown = {WORDS[name]: found["probability"] for name, found in curves["shown"].items()}
    draw.strips(
        folder / "sentences-expected.png",
        tokens=read[1:],
        strips={words: np.array(values)[:, None] for words, values in shown.items()},
        ranges=dict.fromkeys(shown, (0.0, 1.0)),
        title="The probability that each model gave the next character, before it read it",
    )
    for name, words in UNITS.items():
        sigmoids, along = CELLS[MODELS[name]["cell"]].sigmoid, curves["shown"][name]["unit"]
        draw.strips(
            folder / f"sentences-{name}.png",
            tokens=read[:-1],
            strips={words[part]: np.array(curve)[:, None] for part, curve in along.items()},
            ranges={words[part]: (0.0, 1.0) for part in along if part in sigmoids},
            title=f"The first sentence: what unit {UNIT} computes in {WORDS[name]}",
        )


def report(summary: Found) -> str:
    """Return the section in Markdown."""
    text, training = summary["text"], summary["training"]
    told = "; ".join(f"{WORDS[name]} {spread_text(m['completed'])}" for name, m in summary["models"].items())
    introduction = (
        f"**Of {text['sentences']} sentences, given their first words, are completed:** {told}. More than "
        f"{text['completable']} cannot be: {' and '.join(text['shared_words'])} each begin more than one.\n\n"
        f"Each model is trained for {number(training['steps'], 9)} steps on all {text['sentences']} "
        f"sentences ({text['characters']} characters with their newlines), from character to character, at "
        f"a peak learning rate of {training['learning_rate']:g}. The best that any model can reach is "
        f"{number(text['floor_nats_per_char'])} nats per character, by knowing the sentences and not which "
        "one comes; knowing only how often each character comes gives "
        f"{number(text['unigram_nats_per_char'])}. Every {training['look_every']} steps the model is given "
        "the first word of each sentence and writes on, always the likeliest character.\n"
    )
    parts = [
        introduction,
        picture("sentences-loss.png", "The training loss of the three models"),
        _models(summary),
        picture("sentences-expected.png", "The probability that each model gave the next character"),
        "### What goes in at step t, what comes back from t - 1\n",
    ]
    for (name, found), equations in zip(summary["equations"].items(), (_neuron, _layer, _lstm), strict=True):
        parts += [equations(found), picture(f"sentences-{name}.png", SHOWN[name])]
    return "\n".join([*parts, _completions(summary)])


def _models(summary: Found) -> str:
    text = summary["text"]
    rows = [
        {
            "model": WORDS[name],
            "cell": f"{m['cell']}, {m['hidden_size']} unit{'' if m['hidden_size'] == 1 else 's'}",
            "parameters": number(m["parameters"], 9),
            "nats per character": spread_text(m["nats_per_char"]),
            f"completed of {text['sentences']}": spread_text(m["completed"]),
            f"steps until all {text['completable']} were completed": within_text(m["solved_at"]),
            "seconds": spread_text(m["timing"]["seconds"]),
        }
        for name, m in summary["models"].items()
    ]
    return table(rows)


def _neuron(found: Found) -> str:
    head = (
        "**One recurrent neuron.** The character is one number x_t, and what comes back is the neuron's own "
        "output h_(t-1). The first step reads the newline before the sentence, from the zero state:\n"
    )
    weights = found["weights"]
    w_ih, w_hh, b = weights["weight_ih"][0], weights["weight_hh"][0], weights["bias"]
    lines = ["h_t = tanh(w_ih * x_t + w_hh * h_(t-1) + b)", ""]
    lines += [
        f"{_name(step)} tanh({w_ih:.4f} * {step['x']:.4f} {_signed(w_hh)} * {step['h_before']:.4f} "
        f"{_signed(b)}) = tanh({step['parts']['h']['sum']:.4f}) = {step['h']:.4f}"
        for step in found["steps"]
    ]
    return _block(head, lines)


def _layer(found: Found) -> str:
    head = (
        f"**A layer.** Unit {found['unit']} of {found['hidden_size']} takes in {found['embedding_size']} "
        f"numbers that stand for the character, and what all {found['hidden_size']} units gave at t - 1:\n"
    )
    lines = ["h_t = tanh(w_ih . x_t + w_hh . h_(t-1) + b)", ""]
    lines += [
        f"{_name(step)} {_gate('tanh', step['parts']['h'])} = {step['h']:.4f}" for step in found["steps"]
    ]
    return _block(head, lines)


def _lstm(found: Found) -> str:
    head = (
        f"**An LSTM.** Unit {found['unit']} of {found['hidden_size']}: three gates and a candidate, each "
        f"from the {found['embedding_size']} numbers of the character, from all outputs of t - 1, and "
        "a bias; then the long-term state c and the output h:\n"
    )
    lines = [
        "gate = sigmoid(w_ih . x_t + w_hh . h_(t-1) + b) for i, f, o; tanh of it for g",
        "c_t = f * c_(t-1) + i * g;  h_t = o * tanh(c_t)",
    ]
    for step in found["steps"]:
        lines.append("")
        for gate, parts in step["parts"].items():
            function = "tanh" if gate == "g" else "sigmoid"
            lines.append(f"{_name(step, gate)} {_gate(function, parts)} = {parts['value']:.4f}")
        f, i, g, o = (step["parts"][gate]["value"] for gate in "figo")
        lines += [
            f"{_name(step, 'c')} {f:.4f} * {step['c_before']:.4f} + {i:.4f} * {g:.4f} = {step['c']:.4f}",
            f"{_name(step, 'h')} {o:.4f} * tanh({step['c']:.4f}) = {step['h']:.4f}",
        ]
    return _block(head, lines)


def _gate(function: str, parts: Mapping[str, float]) -> str:
    terms = f"{parts['input']:.4f} {_signed(parts['recurrent'])} {_signed(parts['bias'])}"
    return f"{function}({terms}) = {function}({parts['sum']:.4f})"


def _completions(summary: Found) -> str:
    rows = []
    for row in summary["completions"]:
        told = {n: "exactly" if text == row["sentence"] else text for n, text in row["models"].items()}
        rows.append({"sentence": row["sentence"], **{WORDS[n]: text for n, text in told.items()}})
    return f"### From the first word on\n\n{table(rows)}"


def _name(step: Found, what: str = "h") -> str:
    return f"{visible(step['symbol'])}  {what}_{step['t']} ="


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'} {abs(value):.4f}"


def _block(head: str, lines: list[str]) -> str:
    return "\n".join([head, "```", *lines, "```", ""])


EXPERIMENT = Experiment(
    NAME, "The ten sentences: one neuron, a layer, an LSTM", trials, summary, report, figures, curves
)
