"""Models in directories and on the Hugging Face Hub: what `LanguageModel.from_pretrained` does.

The format is this package's own (`unrolled.checkpoint`), verified on load; huggingface_hub only carries it,
and is imported when a Hub name is asked for. See docs/decisions/0015.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol, Self

from unrolled import checkpoint, files, spec
from unrolled.errors import CheckpointError, ConfigError, MissingExtraError, RunError, counted, expected
from unrolled.tasks.loading import assemble, check_finite, model_tensors
from unrolled.tasks.loading import load as load_directory
from unrolled.tokens import Tokens

__all__ = ["Pretrained"]

CARD = "README.md"
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_HUB_NAME = re.compile(f"{_PART}/{_PART}")
BEGIN, END = "<!-- exports -->", "<!-- end of exports -->"  # of the section that a save writes anew
SECTION = re.compile(rf"\n*{BEGIN}.*?{END}\n*", re.DOTALL)
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

`unrolled sample DIRECTORY --prompt TEXT` writes text with it, once it is in a directory. Loading it
executes nothing, and `manifest.json` holds the sha256 of every file.
"""


class Export(Protocol):
    """What `unrolled.export.export` returns."""

    @property
    def path(self) -> Path:
        """The file or folder."""
        ...

    @property
    def line(self) -> str:
        """What it is, and what its check found."""
        ...


class Pretrained:
    """Saved and found again under the names that people know from transformers."""

    if TYPE_CHECKING:  # of the network that derives from this
        config: Any
        tokens: Tokens | None
        data_config: Mapping[str, Any] | None

    def save_pretrained(
        self,
        directory: str | os.PathLike[str],
        *,
        tokens: Tokens | None = None,
        exports: Sequence[Export] = (),
    ) -> Path:
        """Write the model and its vocabulary into a directory, for `from_pretrained` and `unrolled.load`.

        Four files (config.json, model.safetensors, tokens.json, manifest.json) replace those of an earlier
        save; other files stay. A README.md is written where there is none.

        Args:
            directory: made where it is missing.
            tokens: the vocabulary; default the model's own.
            exports: what `unrolled.export.export` returned for this model: the files go along, and the card
                names each with its check.
        Returns:
            The directory.
        Raises:
            ConfigError: no vocabulary, or one of another size; an export with the name of one of the files.
                CheckpointError: the weights are not float32, or not finite. RunError: the directory is a run
                or inside one, holds another program's model, or cannot be written.
        """
        directory = Path(directory)
        _check_exports(exports)
        vocabulary = _write(self, directory, tokens)
        _write_card(self, vocabulary, directory, name=directory.resolve().name)
        _add_exports(exports, directory)
        return directory

    @classmethod
    def from_pretrained(
        cls,
        name_or_directory: str | os.PathLike[str],
        *,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        backend: str = "auto",
    ) -> Self:
        """Load a model from a directory, or from the Hugging Face Hub, verifying every file.

        Args:
            name_or_directory: what `unrolled.load` takes, or a Hub name "user/model".
            revision, cache_dir, token, local_files_only: for the Hub, as huggingface_hub takes them: a
                branch, tag or commit; where downloads are kept; who asks; whether only the cache is used.
            backend: of the recurrent layers; see `unrolled.explain`.
        Returns:
            The model in evaluation mode, its vocabulary in `model.tokens`.
        Raises:
            RunError: there is nothing of that name. CheckpointError, TokenError: a file is torn, altered or
                does not fit. ConfigError: a revision of a directory. MissingExtraError: a Hub name, and the
                extra `hub` is not installed.
        """
        if _is_hub_name(name_or_directory):
            asked = {"revision": revision, "cache_dir": cache_dir, "token": token}
            contents = _downloaded(str(name_or_directory), local_files_only=local_files_only, **asked)
            found = assemble(contents, backend=backend).model
        else:
            _check_no_revision(name_or_directory, revision)
            found = load_directory(Path(name_or_directory), backend=backend).model
        if not isinstance(found, cls):
            want = f"a model of {cls.__name__}"
            raise CheckpointError(expected(str(name_or_directory), want, type(found).__name__))
        return found

    def push_to_hub(
        self,
        repo_id: str,
        *,
        tokens: Tokens | None = None,
        commit_message: str = "Upload a model of unrolled",
        private: bool | None = None,
        revision: str | None = None,
        token: str | bool | None = None,
        create_pr: bool = False,
        exports: Sequence[Export] = (),
    ) -> str:
        """Save the model into a repository of the Hugging Face Hub, made where it is missing.

        Args:
            repo_id: "user/model".
            tokens: the vocabulary; default the model's own.
            commit_message, private, revision, token, create_pr: as huggingface_hub takes them.
            exports: as `save_pretrained` takes them.
        Returns:
            The commit's address.
        Raises:
            ConfigError, CheckpointError: as `save_pretrained`. RunError: the Hub refused or could not be
                reached, or the repository holds another program's model. MissingExtraError: the extra
                `hub` is not installed.
        """
        hub = _huggingface_hub("push_to_hub", "an install without it")
        _check_exports(exports)
        with tempfile.TemporaryDirectory() as folder:
            directory = Path(folder) / "model"
            vocabulary = _write(self, directory, tokens)
            try:
                api = hub.HfApi(token=token)
                repo_id = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
                _check_ours(api, repo_id, revision)
                if not api.file_exists(repo_id, CARD, revision=revision):
                    _write_card(self, vocabulary, directory, name=repo_id)
                elif exports:  # theirs, with the section on exports
                    kept = api.hf_hub_download(repo_id, CARD, revision=revision)
                    (directory / CARD).write_bytes(Path(kept).read_bytes())
                _add_exports(exports, directory)
                asked = {"commit_message": commit_message, "revision": revision, "create_pr": create_pr}
                return str(api.upload_folder(repo_id=repo_id, folder_path=directory, **asked).commit_url)
            except RunError:
                raise
            except Exception as error:  # of the network or the Hub
                raise _refused(repo_id, "a repository of the Hub to write to", _first_line(error)) from error


def _downloaded(name: str, **asked: Any) -> checkpoint.Contents:
    """Return the files of a model of the Hub, verified."""
    got = f"no directory {name} here, and without huggingface_hub the Hub cannot be asked"
    hub = _huggingface_hub("name_or_directory", got)
    try:
        snapshot = Path(hub.snapshot_download(name, allow_patterns=list(checkpoint.MODEL_FILES), **asked))
    except Exception as error:  # of the network, the Hub or its cache; each has a class of its own
        raise _refused(name, "a directory here or a model on the Hub", _first_line(error)) from error
    # REPOSITORY/snapshots/COMMIT/config.json is a link into REPOSITORY/blobs
    return checkpoint.read(snapshot, links_within=snapshot.parent.parent)


def _write(model: Any, directory: Path, tokens: Tokens | None) -> Tokens:
    """Write the four files, and return the vocabulary among them."""
    vocabulary = model.tokens if tokens is None else tokens
    if vocabulary is None:
        want = "the model's vocabulary, which it does not know: pass tokens=..."
        raise ConfigError(expected("tokens", want, "none"))
    if not isinstance(vocabulary, Tokens):
        raise ConfigError(expected("tokens", "a vocabulary of unrolled.tokens", type(vocabulary).__name__))
    if vocabulary.size != model.config.vocab_size:
        raise ConfigError(expected("tokens", f"{model.config.vocab_size} symbols", vocabulary.size))
    config: dict[str, Any] = {"task": "language", "model": spec.to_json(model.config)}
    if model.data_config is not None:
        config["data"] = _without_place(model.data_config)
    weights = model_tensors(model)
    check_finite({name: tensor for name, tensor in model.state_dict().items() if name in weights})
    contents = checkpoint.Contents(config, weights, vocabulary.to_json())
    checkpoint.write_into(directory, contents)
    return vocabulary


def _without_place(data_config: Any) -> dict[str, Any]:
    """Return the data section, with the last part of its source only: the path to a text is private."""
    source = data_config.get("source")
    if not isinstance(source, str):
        return {**data_config}
    last = Path(source).name or source  # of "texts/" it is texts, of "." and "/" they are all there is
    return {**data_config, "source": last}


def _check_ours(api: Any, repo_id: str, revision: str | None) -> None:
    """Refuse a repository that holds one of our names without the manifest that every save of ours has."""
    *names, manifest = checkpoint.MODEL_FILES
    if api.file_exists(repo_id, manifest, revision=revision):
        return
    for name in names:
        if api.file_exists(repo_id, name, revision=revision):
            want = "a repository without a model, or with one that was saved by unrolled"
            raise _refused(repo_id, want, f"{name} of another program")


def _check_no_revision(directory: str | os.PathLike[str], revision: str | None) -> None:
    """Refuse a revision of a directory, rather than load whatever is in it."""
    if revision is not None and os.path.isdir(directory):
        want = f"none for the directory {os.fspath(directory)!r}, which has no revisions"
        raise ConfigError(expected("revision", want, repr(revision)))


def _write_card(model: Any, vocabulary: Tokens, directory: Path, *, name: str) -> None:
    """Write README.md where there is none, not even a link that leads nowhere."""
    try:
        with open(directory / CARD, "x", encoding="utf-8") as file:
            file.write(_card(model, vocabulary, name))
    except FileExistsError:
        return
    except OSError as error:
        raise _refused(str(directory / CARD), "a file that can be written", error.strerror) from error


def _check_exports(exports: Sequence[Export]) -> None:
    """Raise ConfigError for a name that a save has itself, or that two exports have."""
    taken = {CARD, *checkpoint.MODEL_FILES}
    for each in exports:
        if each.path.name in taken:
            raise ConfigError(expected("exports", "names that nothing else in the model has", each.path.name))
        taken.add(each.path.name)


def _add_exports(exports: Sequence[Export], directory: Path) -> None:
    """Copy exports beside the model, and name them and their checks in its card; an older section goes."""
    if not exports:
        return
    for each in exports:
        place = directory / each.path.name
        if place.resolve() == each.path.resolve():
            continue
        with files.writing(place):
            if each.path.is_dir():
                shutil.copytree(each.path, place, dirs_exist_ok=True)
            else:
                files.replace(place, each.path.read_bytes())
    card = directory / CARD
    text = SECTION.sub("", card.read_text(encoding="utf-8"))
    lines = "".join(f"- {each.line}\n" for each in exports)
    files.replace(card, f"{text.rstrip()}\n\n{BEGIN}\n## Exports\n\n{lines}{END}\n")


def _is_hub_name(name: str | os.PathLike[str]) -> bool:
    """Whether this names a model of the Hub: a text "user/model", and there is no such file or directory."""
    return isinstance(name, str) and _HUB_NAME.fullmatch(name) is not None and not os.path.lexists(name)


def _huggingface_hub(argument: str, got: str) -> ModuleType:
    try:
        import huggingface_hub
    except ModuleNotFoundError as error:
        want = "huggingface_hub, from the extra: pip install 'unrolled[hub]'"
        raise MissingExtraError(expected(argument, want, got)) from error
    return huggingface_hub


def _refused(argument: str, want: str, got: object) -> RunError:
    return RunError(expected(argument, want, got))


def _first_line(error: Exception) -> str:
    lines = str(error).split("\n")
    return next((line.strip() for line in lines if line.strip()), type(error).__name__)


def _card(model: Any, vocabulary: Tokens, name: str) -> str:
    """Return the page.

    Args:
        name: what `from_pretrained` is asked for: a directory, or a repository of the Hub.
    """
    config = model.config
    layers = counted(config.num_layers, "layer")
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
