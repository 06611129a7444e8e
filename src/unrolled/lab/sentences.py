"""The ten sentences through one recurrent neuron, a layer of them, and an LSTM."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unrolled import figures as draw
from unrolled.data import SENTENCES, Document, LineBatches, Split, encode_text
from unrolled.errors import counted
from unrolled.figures import visible
from unrolled.lab.compare import SIGNIFICANT, differ
from unrolled.lab.experiment import Done, Experiment, Found, Json, Trial, pick, plan_of, seeded
from unrolled.lab.report import lines, picture, table
from unrolled.lab.spread import band, number, shortened, spread, spread_text, within_cap, within_text
from unrolled.spec import CELLS, LabConfig, ModelConfig
from unrolled.tasks import LanguageModel
from unrolled.tokens import CharTokens, Tokens
from unrolled.train import Schedule, fit

__all__ = ["EXPERIMENT"]

NAME = "sentences"
PLAN = plan_of(NAME)
MODELS, WORDS = PLAN["models"], PLAN["words"]
TEXT = "\n".join(SENTENCES) + "\n"
FIRST_WORDS = [sentence.split()[0] for sentence in SENTENCES]
LONGEST = 2 * max(map(len, SENTENCES))  # characters that a completion may take
UNIT = 0  # which unit of the layer is looked at


def trials(config: LabConfig) -> list[Trial]:
    """Return a trial per model, which chooses its learning rate."""
    settings = {model: {"part": "rates", **_settings(model, config)} for model in MODELS}
    return [Trial(f"{NAME}/{model}/rate", settings[model], choose) for model in MODELS]


def further(config: LabConfig, done: Sequence[Done]) -> list[Trial]:
    """Return a trial per seed of each model whose learning rate is chosen."""
    found = []
    for one in pick(done, part="rates"):
        model = one.settings["model"]
        own = {n: v for n, v in _settings(model, config).items() if n not in ("rates", "tuning_seeds")}
        settings = {"part": "runs", **own, "learning_rate": one.result["rate"]}
        found += seeded(f"{NAME}/{model}", settings, work, config)
    return found


def _settings(model: str, config: LabConfig) -> Json:
    how = {name: PLAN[name]["quick" if config.quick else "full"] for name in ("steps", "rates")}
    return {"model": model, **MODELS[model], **how, **PLAN["shared"]}


def choose(settings: Found) -> Json:
    """Train at each learning rate on the tuning seeds; return the rate that completed the sentences soonest.

    A run that did not counts with all of its steps; between equal sums of steps the lower loss at the end
    decides. A quick run has one rate, and nothing to choose.
    """
    runs: list[Json] = []
    if len(settings["rates"]) == 1:
        return {"rate": settings["rates"][0], "runs": runs}
    for rate, seed in itertools.product(settings["rates"], settings["tuning_seeds"]):
        tokens, split, model = _start({**settings, "seed": seed})
        curve, solved_at = _train(model, split, tokens, {**settings, "seed": seed, "learning_rate": rate})
        runs.append({"rate": rate, "seed": seed, "solved_at": solved_at, "loss": curve["nats_per_char"][-1]})

    def order(rate: float) -> tuple[float, float]:
        own = [run for run in runs if run["rate"] == rate]
        steps = (settings["steps"] if run["solved_at"] is None else run["solved_at"] for run in own)
        return sum(steps), sum(run["loss"] for run in own)

    return {"rate": min(settings["rates"], key=order), "runs": runs}


def _start(settings: Found) -> tuple[CharTokens, Split, LanguageModel]:
    """Return the symbols, the sentences in them, and an untrained network."""
    tokens = CharTokens.build([TEXT])
    split = encode_text([Document("sentences", TEXT)], tokens, "lines")
    sizes = {name: settings[name] for name in ("cell", "hidden_size", "embedding_size")}
    return tokens, split, LanguageModel(ModelConfig(tokens.size, **sizes), seed=settings["seed"])


def work(settings: Found) -> Json:
    """Train one model on all sentences, have it complete them, and look at it from all sides."""
    tokens, split, model = _start(settings)
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
    """Return the loss curve, and the first step at which every sentence that can be completed was."""
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
    """Return the nats per character of the best possible model: it knows all but which sentence comes.

    That is ln 10 for each sentence, over all characters with their newlines.
    """
    return len(SENTENCES) * math.log(len(SENTENCES)) / len(TEXT)


def unigram_nats() -> float:
    """Return the nats per character of the trivial control, which knows how often each character occurs."""
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
    layer, cell = model.recurrent, CELLS[model.config.cell]
    names = cell.gates if cell.sigmoid else cell.states[:1]  # a plain RNN's one block gives h itself
    rows = [place * model.config.hidden_size + UNIT for place in range(len(names))]
    with torch.no_grad():
        # [G, E], [G, H], [G]
        w_ih, w_hh = (w[rows].double().numpy() for w in (layer.weight_ih_l0, layer.weight_hh_l0))
        bias = (layer.bias_ih_l0 + layer.bias_hh_l0)[rows].double().numpy()
        x = model.embedding(ids).double().numpy()  # [T, E]
    seen = model.trajectories(ids)[0]._asdict()
    states = {name: seen[name][:, 0].double().numpy() for name in cell.states}  # [T, H]
    before = {name: np.concatenate([np.zeros_like(v[:1]), v[:-1]]) for name, v in states.items()}
    # [T, G] each
    terms = {"input": x @ w_ih.T, "recurrent": before["h"] @ w_hh.T, "bias": np.tile(bias, (len(x), 1))}
    total = sum(terms.values())
    values = np.where([name in cell.sigmoid for name in names], 1 / (1 + np.exp(-total)), np.tanh(total))
    terms |= {"sum": total, "value": values}
    found = []
    for t in range(steps):
        parts = {n: {term: float(v[t, g]) for term, v in terms.items()} for g, n in enumerate(names)}
        step: Json = {"t": t + 1, "symbol": tokens.decode([int(ids[t])]), "parts": parts}
        step |= {"x": x[t].tolist(), "h_before": before["h"][t].tolist()}
        step |= {name: float(v[t, UNIT]) for name, v in states.items()}
        step |= {"c_before": float(before["c"][t, UNIT])} if "c" in states else {}
        found.append(step)
    shown = {name: values[:, g] for g, name in enumerate(names)}
    if not cell.sigmoid:
        shown = {term: terms[term][:, 0] for term in ("input", "recurrent")}
    along = {name: v.tolist() for name, v in shown.items()}
    along |= {name: v[:, UNIT].tolist() for name, v in reversed(states.items())}
    weights = {
        name: {"weight_ih": w_ih[g].tolist(), "weight_hh": w_hh[g].tolist(), "bias": float(bias[g])}
        for g, name in enumerate(names)
    }
    return {"unit": UNIT, "weights": weights, "steps": found, "along": along}


def summary(done: Sequence[Done]) -> Json:
    """Sum up over seeds; equations and completions are those of the first seed."""
    runs = {name: pick(done, part="runs", model=name) for name in MODELS}
    first = {name: own[0] for name, own in runs.items()}
    steps = {name: [_steps(one) for one in own] for name, own in runs.items()}
    words = Counter(FIRST_WORDS)
    shared = pick(done, part="rates")[0].settings
    return {
        "text": {
            "sentences": len(SENTENCES),
            "characters": len(TEXT),
            "completable": len(words),
            "shared_words": sorted(word for word, count in words.items() if count > 1),
            "floor_nats_per_char": floor_nats(),
            "unigram_nats_per_char": unigram_nats(),
        },
        "training": {name: shared[name] for name in ("steps", "rates", "tuning_seeds", "look_every")},
        "models": {name: _model(own) for name, own in runs.items()},
        "sooner": differ([(steps["layer"], steps["lstm"])]),
        "shown_seed": first["neuron"].settings["seed"],
        "equations": {name: _equations(run) for name, run in first.items()},
        "read": "\n" + SENTENCES[0] + "\n",
        "completions": [
            {"sentence": s, "models": {name: run.result["completions"][n] for name, run in first.items()}}
            for n, s in enumerate(SENTENCES)
        ],
    }


def _steps(run: Done) -> float:
    """Return the steps until a run completed what can be, infinity where it did not."""
    solved_at = run.result["solved_at"]
    return math.inf if solved_at is None else float(solved_at)


def _model(runs: Sequence[Done]) -> Json:
    results, settings = [run.result for run in runs], runs[0].settings
    return {
        **{name: settings[name] for name in ("cell", "hidden_size", "embedding_size", "learning_rate")},
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
        runs = pick(done, part="runs", model=name)
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
    losses = {WORDS[name]: curve for name, curve in curves["loss"].items()}
    title = "The ten sentences: training loss, median of the seeds and their spread"
    levels = {
        "how often a character comes": text["unigram_nats_per_char"],
        "the best possible": text["floor_nats_per_char"],
    }
    axes = ("optimizer steps", "nats per character")
    lines(folder / "sentences-loss.png", losses, axes, title, levels=levels, log_y=True)
    shown = {WORDS[name]: found["probability"] for name, found in curves["shown"].items()}
    draw.strips(
        folder / "sentences-expected.png",
        tokens=read[1:],
        strips={words: np.array(values)[:, None] for words, values in shown.items()},
        ranges=dict.fromkeys(shown, (0.0, 1.0)),
        title="The probability that each model gave the next character, before it read it",
    )
    for name, sizes in MODELS.items():
        sigmoids, along = CELLS[sizes["cell"]].sigmoid, curves["shown"][name]["unit"]
        words = PLAN["units"][sizes["cell"]]
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
    tuned = (
        f"a peak learning rate of {training['rates'][0]:g}"
        if len(training["rates"]) == 1
        else f"the peak learning rate, of {_all_of(training['rates'])}, that was best for it on seeds "
        f"{_all_of(training['tuning_seeds'])}"
    )
    introduction = (
        f"**Sentences completed from their first word, of {text['sentences']}:** {told}. More than "
        f"{text['completable']} cannot be: {' and '.join(text['shared_words'])} each begin more than one.\n\n"
        f"Each model is trained for {number(training['steps'], 9)} steps on all {text['sentences']} "
        f"sentences ({text['characters']} characters with their newlines), from character to character, at "
        f"{tuned}. The best that any model can reach is "
        f"{number(text['floor_nats_per_char'])} nats per character, by knowing the sentences and not which "
        "one comes; knowing only how often each character comes gives "
        f"{number(text['unigram_nats_per_char'])}. Every {training['look_every']} steps the model is given "
        "the first word of each sentence and writes on, always the likeliest character. "
        f"{_sooner(summary)}\n"
    )
    parts = [
        introduction,
        picture("sentences-loss.png", "The training loss of the three models"),
        _models(summary),
        picture("sentences-expected.png", "The probability that each model gave the next character"),
        "### What goes in at step t, what comes back from t - 1\n",
    ]
    for (name, found), equations in zip(summary["equations"].items(), (_rnn, _rnn, _lstm), strict=True):
        parts += [equations(found), picture(f"sentences-{name}.png", PLAN["shown"][name])]
    return "\n".join([*parts, _completions(summary)])


def _sooner(summary: Found) -> str:
    """Say which of the layer and the LSTM completes the sentences in fewer steps, by an exact rank test."""
    found = summary["sooner"]
    if found["p"] >= SIGNIFICANT:
        return f"Neither the layer nor the LSTM is shown to need fewer steps (p = {number(found['p'])})."
    return (
        f"{'The layer' if found['ahead'] > 0 else 'The LSTM'} needs fewer steps (p = {number(found['p'])})."
    )


def _all_of(values: Sequence[float]) -> str:
    return " and ".join(filter(None, (", ".join(f"{v:g}" for v in values[:-1]), f"{values[-1]:g}")))


def _models(summary: Found) -> str:
    text = summary["text"]
    rows = [
        {
            "model": WORDS[name],
            "cell": f"{m['cell']}, {counted(m['hidden_size'], 'unit')}",
            "parameters": number(m["parameters"], 9),
            "learning rate": f"{m['learning_rate']:g}",
            "nats per character": spread_text(m["nats_per_char"]),
            f"completed of {text['sentences']}": spread_text(m["completed"]),
            f"steps until all {text['completable']} were completed": within_text(m["solved_at"]),
            "seconds": spread_text(m["timing"]["seconds"]),
        }
        for name, m in summary["models"].items()
    ]
    return table(rows)


def _rnn(found: Found) -> str:
    """Print each step with the neuron's weights, or with the parts that a unit of a layer sums."""
    head = (
        f"**A layer.** Unit {found['unit']} of {found['hidden_size']} takes in {found['embedding_size']} "
        f"numbers that stand for the character, and what all {found['hidden_size']} units gave at t - 1:\n"
    )
    lines = ["h_t = tanh(w_ih . x_t + w_hh . h_(t-1) + b)", ""]
    if "weights" in found:
        head = (
            "**One recurrent neuron.** The character is one number x_t, and what comes back is the neuron's "
            "own output h_(t-1). The first step reads the newline before the sentence, from the zero state:\n"
        )
        w_ih, w_hh, b = (found["weights"][name] for name in ("weight_ih", "weight_hh", "bias"))
    for step in found["steps"]:
        told = _gate("tanh", step["parts"]["h"])
        if "weights" in found:
            terms = (
                f"{w_ih[0]:.4f} * {step['x']:.4f} {_signed(w_hh[0])} * {step['h_before']:.4f} {_signed(b)}"
            )
            told = f"tanh({terms}) = tanh({step['parts']['h']['sum']:.4f})"
        lines.append(f"{_name(step)} {told} = {step['h']:.4f}")
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


def claims(summary: Found) -> list[dict[str, str]]:
    """Return what each model came to on the ten sentences."""
    text, training = summary["text"], summary["training"]
    return [
        {
            "claim": f"{WORDS[name]} learns the {text['sentences']} sentences",
            "arms": f"{model['cell']}, {counted(model['hidden_size'], 'unit')}, {_rate(model, training)}",
            "caps": f"{number(training['steps'], 9)} steps",
            "verdict": f"completes {spread_text(model['completed'])} of {text['completable']} that can be",
        }
        for name, model in summary["models"].items()
    ]


def _rate(model: Found, training: Found) -> str:
    rates = len(training["rates"])
    return f"{'one rate' if rates == 1 else f'the best of {rates} rates'}, {model['learning_rate']:g}"


TITLE = "The ten sentences: one neuron, a layer, an LSTM"
EXPERIMENT = Experiment(NAME, TITLE, trials, summary, report, figures, curves, further=further, claims=claims)
