"""Names, limits and the version of the format. Where its directories are in a run: `spec.RunDirectory`.

    checkpoints/step-00001200/     immutable: the six files of `FILES["step"]`
    checkpoints/.writing-*         a save that was cut off; never read, removed by `prune`
    checkpoints/.removing-*        a removal that was cut off; likewise
    model/                         the four files of `FILES["model"]`, written at the end from BEST

A model directory may also be elsewhere, as in a Hub repository; other names in it are ignored.
"""

from __future__ import annotations

__all__ = [
    "CONFIG",
    "DOCUMENT_BYTES",
    "FILES",
    "FORMAT",
    "FORMAT_VERSION",
    "LAST_STEP",
    "MANIFEST",
    "MODEL",
    "MODEL_FILES",
    "OPTIMIZER",
    "PARSED_BYTES",
    "PROGRESS",
    "REMOVING",
    "SECTIONS",
    "TOKENS",
]

FORMAT = "unrolled checkpoint"
FORMAT_VERSION = 1

CONFIG, MODEL, TOKENS = "config.json", "model.safetensors", "tokens.json"
OPTIMIZER, PROGRESS, MANIFEST = "optimizer.safetensors", "progress.json", "manifest.json"

# What each kind of directory holds beside its manifest: all of it, and a step nothing else. A task without a
# vocabulary has no tokens.json.
FILES = {"step": (CONFIG, MODEL, TOKENS, OPTIMIZER, PROGRESS), "model": (CONFIG, MODEL, TOKENS)}
MODEL_FILES = (*FILES["model"], MANIFEST)
DOCUMENT_BYTES = {CONFIG: 2**20, TOKENS: 2**24, PROGRESS: 2**20, MANIFEST: 2**16}  # largest legal sizes
# What each may take in memory once parsed, by `files.parsed_bytes`; with the vocabulary that is made of
# the tokens, and a header of tensors, it stays below 64 MiB. The 267,735 words of WikiText-103 fit.
PARSED_BYTES = {CONFIG: 4 * 2**20, TOKENS: 36 * 2**20, PROGRESS: 4 * 2**20, MANIFEST: 2**20}
LAST_STEP = 10**18 - 1
SECTIONS = ("model", "data", "training")  # of config.json, beside "task"; only "model" is required

REMOVING = ".removing-"
