"""Text from a trained network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unrolled import checkpoint, stream
from unrolled.errors import ConfigError, TokenError
from unrolled.sample import sample
from unrolled.spec import ModelConfig, to_json
from unrolled.tasks import LanguageModel, Loaded
from unrolled.tasks.loading import model_tensors
from unrolled.tokens import Tokens, build

TEXT = "the cat sat on the mat\nthe dog sat on the log\n"


def loaded(kind: str = "char", shape: str = "stream") -> Loaded:
    tokens: Tokens = build(kind, [TEXT])
    model = LanguageModel(ModelConfig(tokens.size, 8, 8)).eval()
    return Loaded(model, tokens, {"data": {"shape": shape}}, Path("x"), 0)


def text(model: Loaded | stream.Model, prompt: str = "", **settings: object) -> str:
    return "".join(sample(model, prompt, seed=3, **settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["char", "byte", "word"])
def test_a_seed_repeats_a_text(kind: str):
    assert text(loaded(kind), length=30) == text(loaded(kind), length=30)


def test_a_sample_has_the_length_asked_for():
    assert len(text(loaded(), length=57)) == 57


def test_temperature_zero_takes_the_likeliest_symbol():
    model = loaded()
    ids = model.tokens.encode("\nthe ")
    logits, _ = model.model(torch.from_numpy(ids).unsqueeze(1))
    likeliest = model.tokens.decode([int(logits[-1, 0].argmax())])
    assert text(model, "the ", length=1, temperature=0.0) == likeliest


def test_the_unknown_symbol_is_never_drawn():
    model = loaded()
    with torch.no_grad():
        model.model.readout.bias[0] = 50.0  # <unk>
    assert "\ufffd" not in text(model, length=40)


def test_a_word_that_follows_a_prompt_starts_with_a_blank():
    model = loaded("word")
    with torch.no_grad():
        model.model.readout.bias[model.tokens.encode("dog")] = 50.0
    assert text(model, "the", length=2) == " dog dog"
    assert text(model, length=2) == "dog dog"


def test_bytes_that_are_no_text_are_replaced_not_raised():
    assert isinstance(text(loaded("byte"), length=50), str)


@pytest.mark.parametrize(("shape", "starts"), [("lines", 6), ("stream", 1)])
def test_every_line_of_a_line_corpus_starts_from_the_zero_state(
    shape: str, starts: int, monkeypatch: pytest.MonkeyPatch
):
    model = loaded(shape=shape)
    with torch.no_grad():
        model.model.readout.bias[model.tokens.boundary] = 50.0
    zero, calls = model.model.initial_state, []
    monkeypatch.setattr(model.model, "initial_state", lambda rows: calls.append(rows) or zero(rows))
    assert text(model, length=5) == "\n" * 5
    assert len(calls) == starts


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"length": 0}, "length: expected at least 1, got 0"),
        ({"temperature": float("nan")}, "temperature: expected"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object], message: str):
    with pytest.raises(ConfigError, match=f"^{message}"):
        text(loaded(), **settings)


def test_a_negative_seed_is_refused():
    with pytest.raises(ConfigError, match=r"^seed: expected at least 0, got -1$"):
        sample(loaded(), seed=-1)


def test_a_prompt_of_unknown_symbols_is_refused_with_their_names():
    with pytest.raises(TokenError, match=r"got unknown ones: 'x' 'Ω'$"):
        sample(loaded(), "the xΩ")


def test_a_prompt_of_unknown_words_is_refused_with_the_words():
    with pytest.raises(TokenError, match=r"got unknown ones: 'xyzzy'$"):
        sample(loaded("word"), "the xyzzy")


@pytest.mark.parametrize("space", ["\u00a0", "\u2003", "\x0b", "\x0c", "\x1c"])
def test_a_word_that_only_python_would_split_is_unknown(space: str):
    """The vocabulary splits at blanks, tabs and newlines alone, as `encode` does."""
    model = loaded("word")
    text(model, "the cat\tthe\ncat")
    with pytest.raises(TokenError) as caught:
        sample(model, f"the{space}cat the")
    assert str(caught.value).endswith(f"got unknown ones: {f'the{space}cat'!r}")


@pytest.mark.parametrize("prompt", ["\ufeffthe cat", "the cat\r\nthe", "\ufeffthe\rcat\r\n"])
@pytest.mark.parametrize("kind", ["char", "word", "byte"])
def test_a_prompt_is_read_as_a_corpus_is(prompt: str, kind: str):
    plain = prompt.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    assert text(loaded(kind), prompt) == text(loaded(kind), plain)


def test_without_a_seed_two_texts_differ():
    model = loaded()
    assert "".join(sample(model, length=60)) != "".join(sample(model, length=60))


@pytest.mark.parametrize("shape", ["stream", "lines"])
@pytest.mark.parametrize("kind", ["char", "word"])
def test_the_stream_and_torch_write_the_same_text(tmp_path: Path, kind: str, shape: str):
    model = loaded(kind, shape)
    config = {"model": to_json(model.model.config), "data": {"shape": shape}}
    contents = checkpoint.Contents(config, model_tensors(model.model), model.tokens.to_json())
    checkpoint.write_into(tmp_path / "model", contents)
    streamed = stream.load(tmp_path / "model")
    for prompt, temperature in (("", 0.8), ("the cat", 0.0)):
        of_torch = text(model, prompt, temperature=temperature, length=60)
        assert text(streamed, prompt, temperature=temperature, length=60) == of_torch


def test_a_network_without_a_vocabulary_is_refused():
    with pytest.raises(ConfigError, match="run: expected a model of text, got one without a vocabulary"):
        sample(stream.Recurrent.from_torch(torch.nn.GRU(2, 3)))
