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
