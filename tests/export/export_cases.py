"""Small networks of every task with random weights, as `unrolled.load` would give them."""

from __future__ import annotations

import numpy as np
import torch

from unrolled import nn, spec, tokens
from unrolled.data import Scaler
from unrolled.tasks.classify.network import SequenceNetwork
from unrolled.tasks.classify.schema import Schema as SequenceSchema
from unrolled.tasks.forecast.network import build
from unrolled.tasks.forecast.schema import Schema as ForecastSchema
from unrolled.tasks.language.network import LanguageModel
from unrolled.tasks.tag.network import TagNetwork
from unrolled.tasks.tag.schema import Schema as TagSchema

CELLS = ("lstm", "gru", "rnn")
TEXT = "to be or not to be\n"


def stirred(network, seed=0):
    """Give every weight a random value: what starts at zero would hide a mistake."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=draw) * 0.4)
    return network.eval()


def layer(cell="lstm", seed=0, **options):
    made = nn.layer(cell, 3, 5, options.pop("num_layers", 2), **options)
    return stirred(made, seed)


def language(cell="lstm", *, tied=False, layers=2):
    vocabulary = tokens.build("char", [TEXT])
    config = spec.ModelConfig(vocabulary.size, 6 if tied else 4, 6, layers, cell, tie_weights=tied)
    model = stirred(LanguageModel(config, tokens=vocabulary))
    model.data_config = {"source": "text", "shape": "stream"}
    return model


def scaler(*, missing=False, uneven=False, seed=0):
    draw = np.random.default_rng(seed)
    rows = [draw.normal(3, 5, (20, 3)).astype(np.float32) for _ in range(4)]
    if missing:
        for each in rows:
            each[draw.random(20) < 0.3, 1] = np.nan
            each[draw.random(20) < 0.3, 2] = np.nan
    times = [np.cumsum(draw.uniform(0.5, 2, 20)) for _ in rows] if uneven else None
    return Scaler.fit(rows, ("a", "b", "c"), times=times)


def sequence(
    cell="gru", *, classes=4, pooling="mean+max", causal=False, text=False, several=False, numbers=(),
    layers=1, neighbours=0, zoneout=0.0, **scaled,
):  # fmt: skip
    vocabulary = tokens.build("char", [TEXT]) if text else None
    own = None if text else scaler(**scaled)
    count = classes or len(numbers) or 1
    schema = SequenceSchema(
        tuple(f"class {n}" for n in range(classes)),
        mean=tuple(7.0 + n for n in range(len(numbers) or 1)),
        scale=tuple(2.5 + n for n in range(len(numbers) or 1)),
        scaler=own,
        temperature=1.7,
        several=several,
        numbers=tuple(numbers),
        per_step=pooling == "step",
        read_as={"time": "t"} if scaled.get("uneven") else {},
    )
    kind = spec.ClassifyModel if classes else spec.RegressModel
    config = kind(
        input_size=0 if own is None else len(own.outputs),
        vocab_size=vocabulary.size if text else 0,
        embedding_size=3 if text else 0,
        outputs=count,
        hidden_size=5,
        num_layers=layers,
        cell=cell,
        causal=causal,
        pooling=pooling,
        neighbours=neighbours,
        zoneout=zoneout,
    )
    network = stirred(SequenceNetwork(config))
    network.schema, network.tokens = schema, vocabulary
    return network


def tagger(cell="gru", *, columns=0):
    features = tuple(f"column {n}" for n in range(columns))
    schema = TagSchema(
        ("B-X", "I-X", "O"), "IOB2", "BIIB", ("fay", "sings", "0"), tuple("FaysingB0"), features,
        tuple(("p", "q") for _ in features), temperature=1.3,
    )  # fmt: skip
    config = spec.TagModel(
        words=len(schema.words) + 1, word_size=4, characters=len(schema.characters) + 2, character_size=3,
        character_hidden=4, affixes=4096, affix_size=2, columns=columns,
        column_values=schema.column_values if columns else 0, column_size=2 if columns else 0,
        tags=len(schema.inside), hidden_size=5, cell=cell,
    )  # fmt: skip
    return stirred(TagNetwork(config, schema=schema))


def forecaster(
    cell="gru",
    *,
    causal=False,
    distribution="quantiles",
    normalise="last",
    known=0,
    static=0,
    series=0,
    zoneout=0.0,
):
    levels = (80.0, 95.0) if distribution == "quantiles" else ()
    outputs = {"point": 1, "gaussian": 2, "student-t": 3, "negative-binomial": 2}.get(distribution, 5)
    draw = np.random.default_rng(0)

    def fitted(count):
        names = tuple(f"c{n}" for n in range(count))
        return Scaler.fit([draw.normal(size=(9, count)).astype(np.float32)], names) if count else None

    schema = ForecastSchema(
        horizon=5, freq=None, season=4, ids=("s",) * min(series, 1) or ("s",), mean=(3.0,), scale=(2.0,),
        levels=levels, distribution=distribution, missing="mask", masked=False, known=fitted(known),
        static=fitted(static), read_as={},
    )  # fmt: skip
    config = spec.ForecastModel(
        horizon=5, window=8, segment=0 if causal else 4, input_size=1 + known, outputs=outputs, hidden_size=6,
        known_size=known, static_size=static, series=series, distribution=distribution, normalise=normalise,
        cell=cell, zoneout=zoneout,
    )  # fmt: skip
    network = stirred(build(config, seed=0, backend="auto", quantiles=schema.quantiles))
    network.schema = schema
    return network
