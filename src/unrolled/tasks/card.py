"""The README.md beside a saved model: what it is and how to load it, for people and for the Hub."""

from __future__ import annotations

from unrolled.tasks.language import LanguageModel
from unrolled.tokens import Tokens

__all__ = ["card"]

PAGE = """---
license: unknown
library_name: unrolled
pipeline_tag: text-generation
tags:
- {cell}
- recurrent-neural-network
---

# {title}

A recurrent language model, trained with `unrolled`: {layers} of {hidden:,} {CELL} units,
{vocabulary:,} symbols ({kind}), {parameters:,} parameters.

```python
from unrolled.tasks import LanguageModel

model = LanguageModel.from_pretrained("{name}")
ids = model.tokens.encode("some text")
```

`unrolled sample DIRECTORY --prompt TEXT` writes text with it, once it lies in a directory. Loading it
executes nothing, and `manifest.json` holds the sha256 of every file.
"""


def card(model: LanguageModel, vocabulary: Tokens, name: str) -> str:
    """Return the page.

    Args:
        name: what `from_pretrained` is asked for: a directory, or a repository of the Hub.
    """
    config = model.config
    layers = "1 layer" if config.num_layers == 1 else f"{config.num_layers} layers"
    return PAGE.format(
        cell=config.cell,
        CELL=config.cell.upper(),
        title=name.rpartition("/")[2],
        layers=layers,
        hidden=config.hidden_size,
        vocabulary=vocabulary.size,
        kind=vocabulary.kind,
        parameters=sum(p.numel() for p in model.parameters()),
        name=name,
    )
