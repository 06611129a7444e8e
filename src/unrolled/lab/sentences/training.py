"""A character model of the ten sentences: trained on all of them, then asked to complete them."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from unrolled.data import SENTENCES, Document, LineBatches, Split, encode_text
from unrolled.lab.sentences.unit import one_unit
from unrolled.spec import ModelConfig
from unrolled.tasks import LanguageModel, continuation
from unrolled.tokens import CharTokens
from unrolled.train import Schedule, make_optimizer

__all__ = ["TEMPERATURE", "TEXT", "completed", "first_words", "floor_nats", "unigram_nats", "work"]

TEXT = "\n".join(SENTENCES) + "\n"
LONGEST = 2 * max(map(len, SENTENCES))  # characters that a completion may take
CHOICES = 3  # likeliest next characters that are kept
TEMPERATURE, SAMPLE = 0.8, 120  # of a sample, in characters
CLIP = 1.0


def work(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Train one model as `settings` say and look at it from all sides."""
    tokens = CharTokens.build([TEXT])
    split = encode_text([Document("sentences", TEXT)], tokens, "lines")
    sizes = {name: settings[name] for name in ("cell", "hidden_size", "embedding_size")}
    model = LanguageModel(ModelConfig(tokens.size, **sizes), seed=settings["seed"])
    begin = time.perf_counter()
    curve, solved_at = _train(model, split, tokens, settings)
    seconds = time.perf_counter() - begin
    sentence = torch.from_numpy(tokens.encode("\n" + SENTENCES[0] + "\n"))
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "curve": curve,
        "nats_per_char": _nats(model, split, settings["seed"]),
        "solved_at": solved_at,
        "completions": completions(model, tokens),
        "unit": one_unit(model, sentence[:-1], tokens, steps=settings["shown_steps"]),
        "predictions": _predictions(model, sentence, tokens),
        "sample": _sample(model, tokens, settings["seed"]),
        "timing": {"seconds": seconds},
    }


def first_words() -> list[str]:
    """Return the first word of each sentence."""
    return [sentence.split()[0] for sentence in SENTENCES]


def floor_nats() -> float:
    """Return the nats per character of the best possible model: it knows the ten, and nothing of which one.

    That is ln 10 a sentence, over all characters with their newlines.
    """
    return len(SENTENCES) * math.log(len(SENTENCES)) / len(TEXT)


def unigram_nats() -> float:
    """Return the nats per character of the trivial control, which knows how often each character comes."""
    counts = np.array(list(Counter(TEXT).values()))
    return float(-(counts * np.log(counts / len(TEXT))).sum() / len(TEXT))


def completions(model: LanguageModel, tokens: CharTokens) -> list[str]:
    """Return what the model writes after the first word of each sentence, always taking the likeliest."""
    return [
        word + tail for word, tail in zip(first_words(), _greedy(model, tokens, first_words()), strict=True)
    ]


@torch.inference_mode()
def _greedy(model: LanguageModel, tokens: CharTokens, prompts: Sequence[str]) -> list[str]:
    """Continue all prompts side by side up to the end of a line, or LONGEST characters."""
    model.eval()
    rows = [torch.from_numpy(tokens.encode("\n" + prompt)) for prompt in prompts]
    lengths = torch.tensor([len(row) for row in rows])
    inputs = torch.nn.utils.rnn.pad_sequence(rows)  # [T, B]
    y, state = model.hidden(inputs, model.initial_state(len(rows)), lengths)
    logits = model.readout(y[lengths - 1, torch.arange(len(rows))])  # [B, V]
    drawn = []
    for _ in range(LONGEST):
        drawn.append(_likeliest(logits, tokens))
        logits, state = model.step(drawn[-1], state)
    texts = [tokens.decode(ids) for ids in torch.stack(drawn, dim=1).tolist()]
    return [text.partition("\n")[0] for text in texts]


def _likeliest(logits: Tensor, tokens: CharTokens) -> Tensor:
    logits = logits.clone()
    logits[:, tokens.unknown] = -math.inf
    return logits.argmax(dim=-1)


def _train(
    model: LanguageModel, split: Split, tokens: CharTokens, settings: Mapping[str, Any]
) -> tuple[dict[str, list[float]], int | None]:
    """Return the loss curve, and the step at which all that can be completed first were."""
    steps = settings["steps"]
    schedule = Schedule(steps, save_every=settings["look_every"], peak=settings["learning_rate"])
    batches = LineBatches(split, batch_size=len(SENTENCES), seed=settings["seed"])
    optimizer = make_optimizer(model, lr=schedule.peak, weight_decay=0.0)
    goal = len(set(first_words()))
    curve: dict[str, list[float]] = {"step": [], "nats_per_char": []}
    solved_at = None
    for step in range(steps):
        model.train()
        (batch,) = batches.epoch(step)
        nats, count, _ = model.loss(batch, model.initial_state(batch.inputs.shape[1]))
        optimizer.zero_grad()
        (nats / count).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        for group in optimizer.param_groups:
            group["lr"] = schedule.learning_rate(step)
        optimizer.step()
        if schedule.saves_at(step + 1):
            curve["step"].append(step + 1)
            curve["nats_per_char"].append(float(nats.detach()) / count)
            if solved_at is None and completed(completions(model, tokens)) >= goal:
                solved_at = step + 1
    return curve, solved_at


def completed(texts: Sequence[str]) -> int:
    """Return how many of the ten sentences were written exactly."""
    return sum(text == sentence for text, sentence in zip(texts, SENTENCES, strict=True))


def _nats(model: LanguageModel, split: Split, seed: int) -> float:
    nats, count = model.evaluate(LineBatches(split, batch_size=1, seed=seed).epoch(0), carry=False)
    return nats / count


@torch.inference_mode()
def _predictions(model: LanguageModel, sentence: Tensor, tokens: CharTokens) -> list[dict[str, Any]]:
    """Return, after each character of a sentence, the likeliest next ones and the probability of the true."""
    logits, _ = model(sentence[:-1, None])  # [T, 1, V]
    shares = logits[:, 0].double().softmax(dim=-1)  # [T, V]
    found = []
    for step, target in enumerate(sentence[1:].tolist()):
        top = shares[step].topk(CHOICES)
        found.append(
            {
                "t": step + 1,
                "input": tokens.decode([int(sentence[step])]),
                "next": tokens.decode([target]),
                "probability": float(shares[step, target]),
                "top": [
                    {"symbol": tokens.decode([int(i)]), "probability": float(p)}
                    for p, i in zip(top.values, top.indices, strict=True)
                ],
            }
        )
    return found


def _sample(model: LanguageModel, tokens: CharTokens, seed: int) -> str:
    drawn = continuation(
        model,
        tokens,
        lines=True,
        length=SAMPLE,
        temperature=TEMPERATURE,
        generator=np.random.default_rng(seed),
    )
    return tokens.decode(list(drawn)).strip("\n")
