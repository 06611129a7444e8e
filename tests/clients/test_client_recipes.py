"""Clients that need no code of ours: the numbers are those that they give on torch.nn."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from client_cases import QUIETLY, client

import unrolled
from unrolled import nn

pytestmark = QUIETLY
NEAR = {"atol": 1e-4, "rtol": 1e-3}


class Classifier(torch.nn.Module):
    def __init__(self, kind: str = "GRU", hidden_size: int = 8) -> None:
        super().__init__()
        self.memory = getattr(torch.nn, kind)(2, hidden_size, num_layers=2, batch_first=True)
        self.head = torch.nn.Linear(hidden_size, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.memory(x)[0][:, -1])


class Ours(Classifier):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        unrolled.accelerate(self)


def series(rows: int = 12) -> torch.Tensor:
    return torch.randn(rows, 9, 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("method", ["IntegratedGradients", "Saliency", "DeepLift", "FeatureAblation"])
def test_captum_attributes_to_the_same_inputs(method: str, kind: str):
    attr = client("captum.attr")
    torch.manual_seed(0)
    theirs = Classifier(kind).eval()
    ours = unrolled.accelerate(copy.deepcopy(theirs))
    assert type(ours.memory) is getattr(nn, kind)
    x = series(3)
    want, got = (getattr(attr, method)(model).attribute(x, target=1) for model in (theirs, ours))
    torch.testing.assert_close(got, want, **NEAR)


def test_skorch_trains_clones_and_searches():
    skorch = client("skorch")
    selection, base = client("sklearn.model_selection"), client("sklearn.base")
    x, labels = series(24).numpy(), np.arange(24) % 2
    nets = []
    for module in (Classifier, Ours):
        torch.manual_seed(0)
        net = skorch.NeuralNetClassifier(
            module, criterion=torch.nn.CrossEntropyLoss, max_epochs=3, train_split=None, verbose=0
        )
        nets.append(net.fit(x, labels))
    theirs, ours = nets
    assert type(ours.module_.memory) is nn.GRU
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), **NEAR)
    search = selection.GridSearchCV(
        base.clone(ours), {"module__hidden_size": [4, 8]}, cv=2, scoring="accuracy"
    )
    assert type(search.fit(x, labels).best_estimator_.module_.memory) is nn.GRU


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_darts_builds_trains_and_loads_our_layers_within_accelerated(kind: str, tmp_path):
    darts, models = client("darts"), client("darts.models")
    values = darts.TimeSeries.from_values(np.sin(np.arange(80) / 5).astype(np.float32))

    def model() -> Any:
        quiet = {
            "accelerator": "cpu",
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "logger": False,
        }
        return models.BlockRNNModel(
            12, 6, model=kind, hidden_dim=4, n_rnn_layers=2, n_epochs=1, random_state=0, pl_trainer_kwargs=quiet,
            work_dir=str(tmp_path),
        )  # fmt: skip

    theirs = model().fit(values).predict(6).values()
    with unrolled.accelerated():
        ours = model().fit(values)
    assert isinstance(ours.model.rnn, nn.Recurrent)
    np.testing.assert_allclose(ours.predict(6).values(), theirs, atol=1e-4)
    ours.save(str(tmp_path / "model.pt"))
    with unrolled.accelerated():
        again = models.BlockRNNModel.load(str(tmp_path / "model.pt"))
    np.testing.assert_allclose(again.predict(6).values(), theirs, atol=1e-4)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_neuralforecast_builds_trains_saves_and_loads_our_layers_within_accelerated(kind: str, tmp_path):
    neural, models, pandas = client("neuralforecast"), client("neuralforecast.models"), client("pandas")
    steps = np.arange(80)
    table = pandas.concat(
        [pandas.DataFrame({"unique_id": str(n), "ds": steps, "y": np.sin(steps / (3 + n))}) for n in range(3)]
    )

    def model() -> Any:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        return getattr(models, kind)(
            h=4, input_size=12, encoder_hidden_size=8, encoder_n_layers=2, max_steps=3, random_seed=1,
            accelerator="cpu", enable_checkpointing=False, default_root_dir=str(tmp_path), **quiet,
        )  # fmt: skip

    def forecast(whole: Any) -> Any:
        return whole.predict()[kind].to_numpy()

    def layers(whole: Any) -> set[type]:
        return {type(each) for each in whole.models[0].modules() if isinstance(each, torch.nn.RNNBase)}

    theirs = neural.NeuralForecast([model()], freq=1)
    theirs.fit(table)
    with unrolled.accelerated():
        ours = neural.NeuralForecast([model()], freq=1)
    ours.fit(table)
    assert layers(ours) == {getattr(nn, kind)}
    np.testing.assert_allclose(forecast(ours), forecast(theirs), atol=1e-4)
    ours.save(str(tmp_path / "saved"), overwrite=True)
    with unrolled.accelerated():
        again = neural.NeuralForecast.load(str(tmp_path / "saved"))
    assert layers(again) == {getattr(nn, kind)}
    assert layers(neural.NeuralForecast.load(str(tmp_path / "saved"))) == {getattr(torch.nn, kind)}
    np.testing.assert_array_equal(forecast(again), forecast(ours))


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_tagger_of_flair_is_built_saved_and_loaded_with_our_layers(kind: str, tmp_path):
    data, models = client("flair.data"), client("flair.models")
    embeddings = client("flair.embeddings")
    words, tags = data.Dictionary(), data.Dictionary(add_unk=False)
    for word in ["Fay", "and", "Ed", "ran", "home"]:
        words.add_item(word)
    for tag in ("name", "other"):
        tags.add_item(tag)

    def tagger() -> Any:
        torch.manual_seed(0)
        kinds = {"tag_type": "kind", "rnn_type": kind, "hidden_size": 8, "rnn_layers": 2}
        return models.SequenceTagger(embeddings.OneHotEmbeddings(words), tags, **kinds)

    def sentences() -> list[Any]:
        found = [data.Sentence(text) for text in ("Fay and Ed ran home", "Ed ran")]
        for token in (token for each in found for token in each):
            token.add_label("kind", "name" if token.text[0].isupper() else "other")
        return found

    def loss(model: Any) -> torch.Tensor:
        torch.manual_seed(1)  # of its dropouts
        return model.forward_loss(sentences())[0]

    theirs = tagger().train()
    with unrolled.accelerated():
        ours = tagger().train()
    assert type(ours.rnn) is getattr(nn, kind)
    torch.testing.assert_close(loss(ours), loss(theirs), **NEAR)
    ours.save(tmp_path / "tagger.pt")
    with unrolled.accelerated():
        again = models.SequenceTagger.load(tmp_path / "tagger.pt")
    assert type(again.rnn) is getattr(nn, kind)
    assert type(models.SequenceTagger.load(tmp_path / "tagger.pt").rnn) is getattr(torch.nn, kind)
    torch.testing.assert_close(loss(again.train()), loss(ours), **NEAR)


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_the_deepar_of_pytorch_forecasting_has_the_same_loss_and_gradients(cell: str):
    forecasting, pandas = client("pytorch_forecasting"), client("pandas")
    steps = np.arange(60)
    table = pandas.concat(
        [pandas.DataFrame({"series": str(n), "step": steps, "y": np.sin(steps / (3 + n))}) for n in range(3)]
    )
    data = forecasting.TimeSeriesDataSet(
        table.reset_index(drop=True), time_idx="step", target="y", group_ids=["series"], min_encoder_length=4,
        max_encoder_length=20, max_prediction_length=5, time_varying_unknown_reals=["y"], randomize_length=True,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = forecasting.DeepAR.from_dataset(data, cell_type=cell, hidden_size=8, rnn_layers=2, dropout=0.0)
    ours = unrolled.accelerate(copy.deepcopy(theirs))
    assert isinstance(ours.rnn, nn.Recurrent)
    x, y = next(iter(data.to_dataloader(batch_size=16)))
    losses = [model.loss(model(x)["prediction"], y) for model in (theirs, ours)]
    torch.testing.assert_close(losses[1], losses[0], **NEAR)
    for loss in losses:
        loss.backward()
    for (name, want), (_, got) in zip(theirs.named_parameters(), ours.named_parameters(), strict=True):
        if want.grad is not None:
            torch.testing.assert_close(
                got.grad, want.grad, **NEAR, msg=lambda said, name=name: f"{name}: {said}"
            )


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
def test_a_seed_gives_a_pretrained_model_of_transformers_torchs_weights(kind: str, tmp_path):
    transformers = client("transformers")

    class Config(transformers.PretrainedConfig):
        model_type = "recurrent"

    def model_of(package: Any) -> type:
        class Model(transformers.PreTrainedModel):
            config_class = Config

            def __init__(self, config: Any) -> None:
                super().__init__(config)
                self.memory = getattr(package, kind)(2, 8, num_layers=2, batch_first=True)
                self.head = torch.nn.Linear(8, 2)
                self.post_init()

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return self.head(self.memory(x)[0])

        return Model

    built = []
    for package in (torch.nn, nn):
        torch.manual_seed(0)
        built.append(model_of(package)(Config()))
    theirs, ours = built
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    ours.save_pretrained(tmp_path / "saved")
    again = model_of(torch.nn).from_pretrained(tmp_path / "saved")
    torch.testing.assert_close(again(series()), ours(series()), **NEAR)
