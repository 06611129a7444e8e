"""Saved models, in directories and on the Hub: what people know from transformers, in our own verified format."""

from __future__ import annotations

import copy
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoint_runs import write_run

import unrolled
from unrolled.errors import CheckpointError, ConfigError, MissingExtraError, RunError
from unrolled.spec import ModelConfig, to_json
from unrolled.tasks import LanguageModel
from unrolled.tasks.loading import model_tensors, to_stored
from unrolled.tokens import build

FILES = ["README.md", "config.json", "manifest.json", "model.safetensors", "tokens.json"]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
hub = pytest.importorskip("huggingface_hub")


def network(cell: str = "lstm", *, seed: int = 0, tied: bool = False) -> LanguageModel:
    tokens = build("char", ["to be or not to be\n"])
    return LanguageModel(ModelConfig(tokens.size, 6, 6, 2, cell, tie_weights=tied), seed=seed, tokens=tokens)


def same(one: LanguageModel, other: LanguageModel) -> bool:
    mine, yours = one.state_dict(), other.state_dict()
    return (
        one.config == other.config
        and mine.keys() == yours.keys()
        and all(torch.equal(mine[k], yours[k]) for k in mine)
    )


def cached(cache: Path, source: Path, *, repo: str = "user/model") -> Path:
    """Lay a saved model into a Hub's cache, as huggingface_hub does: links to blobs. Returns the snapshot."""
    home = cache / f"models--{repo.replace('/', '--')}"
    snapshot = home / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (home / "blobs").mkdir()
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(COMMIT)
    for number, name in enumerate(FILES):
        shutil.copy(source / name, home / "blobs" / f"{number:040x}")
        (snapshot / name).symlink_to(f"../../blobs/{number:040x}")
    return snapshot


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("tied", [False, True])
def test_what_is_saved_is_loaded_by_both_names(tmp_path: Path, cell: str, tied: bool):
    model = network(cell, tied=tied)
    assert model.save_pretrained(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    again = LanguageModel.from_pretrained(str(tmp_path / "a" / "b"))
    assert same(model, again)
    assert again.tokens == model.tokens
    assert not again.training
    assert (again.readout.weight is again.embedding.weight) == tied
    loaded = unrolled.load(tmp_path / "a" / "b")
    assert same(model, loaded.model)
    assert loaded.tokens == model.tokens
    assert sorted(os.listdir(tmp_path / "a" / "b")) == FILES
    assert sorted(os.listdir(tmp_path / "a")) == ["b"]


@pytest.mark.parametrize("kind", ["char", "word", "byte"])
def test_a_run_is_a_directory_too_and_what_is_saved_of_it_loads_alike(tmp_path: Path, kind: str):
    run = write_run(tmp_path / "run", "gru", kind=kind)
    model = LanguageModel.from_pretrained(run)
    model.save_pretrained(tmp_path / "m")
    one, other = unrolled.load(run), unrolled.load(tmp_path / "m")
    assert same(one.model, other.model)
    assert one.tokens == other.tokens == model.tokens
    assert one.config["data"] == other.config["data"] == {"source": "book.txt", "shape": "stream"}


def test_a_loaded_model_is_trained_further_like_any_other(tmp_path: Path):
    model = LanguageModel.from_pretrained(network().save_pretrained(tmp_path / "m")).train()
    before = copy.deepcopy(model)
    ids = torch.randint(model.config.vocab_size, (9, 2))
    logits, _ = model(ids)
    logits.square().mean().backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    assert all(not torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))
    assert same(before, LanguageModel.from_pretrained(tmp_path / "m"))


def test_weights_lie_where_they_were_read_and_as_torch_would_lay_them(tmp_path: Path):
    network().save_pretrained(tmp_path / "m")
    state = torch.get_rng_state()
    model = LanguageModel.from_pretrained(tmp_path / "m", backend="torch")
    assert all(p.data_ptr() % 64 == 0 and p.is_contiguous() for p in model.parameters())
    assert all(p.requires_grad and p.device.type == "cpu" for p in model.parameters())
    assert model.recurrent.backend == "torch"
    assert torch.equal(state, torch.get_rng_state()), "loading drew random numbers"


def test_the_vocabulary_stays_with_copies_and_out_of_the_state_dict():
    model = network()
    assert "tokens" not in model.state_dict()
    assert copy.deepcopy(model).tokens == model.tokens
    assert LanguageModel(model.config).tokens is None


def test_a_model_without_a_vocabulary_is_saved_with_one_that_is_given(tmp_path: Path):
    model = network()
    vocabulary, model.tokens = model.tokens, None
    with pytest.raises(
        ConfigError, match=r"^tokens: expected the model's vocabulary, .*: pass tokens=\.\.\., got none$"
    ):
        model.save_pretrained(tmp_path / "m")
    assert not os.listdir(tmp_path)
    model.save_pretrained(tmp_path / "m", tokens=vocabulary)
    assert LanguageModel.from_pretrained(tmp_path / "m").tokens == vocabulary
    with pytest.raises(ConfigError, match=r"^tokens: expected 9 symbols, got 256$"):
        model.save_pretrained(tmp_path / "n", tokens=build("byte", []))
    with pytest.raises(ConfigError, match=r"^tokens: expected a vocabulary of unrolled\.tokens, got list$"):
        model.save_pretrained(tmp_path / "n", tokens=["a"])  # type: ignore[arg-type]


def test_how_the_text_was_cut_is_kept_and_where_it_lay_is_not(tmp_path: Path):
    model = network()
    model.data_config = {"source": "/home/me/letters/private.txt", "shape": "lines"}
    model.save_pretrained(tmp_path / "m")
    assert "/home/me" not in (tmp_path / "m" / "config.json").read_text()
    assert LanguageModel.from_pretrained(tmp_path / "m").data_config == {
        "source": "private.txt",
        "shape": "lines",
    }


@pytest.mark.parametrize(
    ("source", "kept"),
    [("texts/", "texts"), ("/home/me/texts//", "texts"), ("a/.", "a"), ("-", "-"), (".", "."), ("/", "/")],
)
def test_a_source_keeps_its_last_part_however_it_ends(tmp_path: Path, source: str, kept: str):
    model = network()
    model.data_config = {"source": source, "shape": "stream"}
    model.save_pretrained(tmp_path / "m")
    assert LanguageModel.from_pretrained(tmp_path / "m").data_config == {"source": kept, "shape": "stream"}


def test_saving_again_replaces_our_files_and_leaves_the_others(tmp_path: Path):
    home = tmp_path / "m"
    network(seed=1).save_pretrained(home)
    (home / "README.md").write_text("mine")
    (home / ".gitattributes").write_text("*.safetensors filter=lfs")
    (home / "figures").mkdir()
    network("gru", seed=2).save_pretrained(home)
    assert same(LanguageModel.from_pretrained(home), network("gru", seed=2))
    assert sorted(os.listdir(home)) == sorted([*FILES, ".gitattributes", "figures"])
    assert (home / "README.md").read_text() == "mine"


def test_a_directory_that_holds_only_other_things_takes_a_model(tmp_path: Path):
    (tmp_path / "README.md").write_text("mine")
    network().save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "mine"
    assert same(LanguageModel.from_pretrained(tmp_path), network())


def test_the_card_says_what_it_is_and_how_to_load_it(tmp_path: Path):
    text = (network().save_pretrained(tmp_path / "small") / "README.md").read_text()
    assert text.startswith("---\nlicense: unknown\n")
    assert "2 layers of 6 LSTM units, 9 symbols" in " ".join(text.split())
    assert 'LanguageModel.from_pretrained("small")' in text


def test_the_card_of_the_directory_here_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "small").mkdir()
    monkeypatch.chdir(tmp_path / "small")
    network().save_pretrained(".")
    text = (tmp_path / "small" / "README.md").read_text()
    assert "\n# small\n" in text
    assert 'LanguageModel.from_pretrained("small")' in text


def foreign(home: Path, name: str) -> None:
    home.mkdir()
    if name == "a run":
        (home / "checkpoints").mkdir()
    elif name == "another program's model":
        (home / "config.json").write_text('{"model_type": "gpt2"}')
        (home / "model.safetensors").write_bytes(b"years")
    elif name == "a link":
        network().save_pretrained(home)
        (home / "config.json").rename(home.with_name("elsewhere"))
        (home / "config.json").symlink_to(home.with_name("elsewhere"))
    elif name == "another manifest":
        (home / "manifest.json").write_text('{"format": "web app", "kind": "model"}')
    elif name == "a damaged manifest":
        (home / "manifest.json").write_bytes(b"[[[[")
    else:
        home.rmdir()
        home.write_text("a file")


@pytest.mark.parametrize(
    "name", ["a run", "another program's model", "a link", "another manifest", "a damaged manifest", "a file"]
)
def test_what_is_not_ours_is_never_replaced(tmp_path: Path, name: str):
    foreign(tmp_path / "m", name)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(RunError, match=r"m.*: expected .*, got ") as caught:
        network(seed=5).save_pretrained(tmp_path / "m")
    assert str(caught.value).isprintable()
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_step_directory_takes_no_model(tmp_path: Path):
    (tmp_path / "step-00000001").mkdir()
    with pytest.raises(RunError, match="a run or a step"):
        network().save_pretrained(tmp_path / "step-00000001")


def started(run: Path) -> Path:
    """Leave what a run has before its first checkpoint."""
    (run / "data").mkdir(parents=True)
    (run / "data" / "corpus.json").write_text("{}")
    (run / "config.json").write_text("{}")
    return run


def listing(home: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in home.rglob("*")}


INSIDE = ["model", "checkpoints", "data", "export", "checkpoints/new", "data/a/b", "link", "link/model"]


@pytest.mark.parametrize("place", INSIDE)
@pytest.mark.parametrize("after", ["its end", "its start"])
def test_the_inside_of_a_run_takes_no_model(tmp_path: Path, place: str, after: str):
    run = write_run(tmp_path / "run", "gru") if after == "its end" else started(tmp_path / "run")
    (run / "data").mkdir(exist_ok=True)
    (tmp_path / "link").symlink_to(run / "data" if place == "link" else run)
    before = listing(tmp_path)
    with pytest.raises(RunError, match=r"expected a directory of its own for the model, got a place inside"):
        network().save_pretrained((tmp_path if "link" in place else run) / place)
    assert listing(tmp_path) == before


@pytest.mark.parametrize("here", [".", "model", "checkpoints/step-00000001"])
def test_a_run_takes_no_model_by_the_name_of_the_directory_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, here: str
):
    run = write_run(tmp_path / "run", "gru")
    monkeypatch.chdir(run / here)
    before = listing(tmp_path)
    with pytest.raises(RunError, match="expected a directory of its own for the model, got a "):
        network().save_pretrained(".")
    assert listing(tmp_path) == before


@pytest.mark.parametrize("place", ["new", "data/new", "run/export/new"])
def test_a_model_may_lie_beside_runs_and_beside_other_programs_checkpoints(tmp_path: Path, place: str):
    write_run(tmp_path / "run", "gru")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "data").mkdir()
    assert same(LanguageModel.from_pretrained(network().save_pretrained(tmp_path / place)), network())


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("at", range(1, 5))
def test_a_save_that_fails_is_one_line_and_misleads_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool, at: int
):
    home, calls = tmp_path / "m", []
    if exists:
        network(seed=1).save_pretrained(home)

    def failing(old: Path, new: Path, plain: Any = os.replace if exists else os.rename) -> None:
        calls.append(new)
        if len(calls) == at:
            raise OSError(28, "No space left on device")
        plain(old, new)

    monkeypatch.setattr(os, "replace" if exists else "rename", failing)
    try:
        network(seed=2).save_pretrained(home)
    except RunError as error:
        assert "No space left on device" in str(error)  # noqa: PT017
    else:
        assert len(calls) < at
    monkeypatch.undo()
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".")]
    try:
        found = LanguageModel.from_pretrained(home)
        assert same(found, network(seed=2)) or same(found, network(seed=1))
    except (CheckpointError, RunError) as error:
        assert str(error).isprintable()  # noqa: PT017
    network(seed=3).save_pretrained(home)
    assert same(LanguageModel.from_pretrained(home), network(seed=3))


def test_weights_that_are_not_float32_are_refused_in_one_line(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"embedding\.weight: expected float32 \[9, 6\], got bfloat16"):
        network().bfloat16().save_pretrained(tmp_path / "m")
    assert not os.listdir(tmp_path)


def test_a_dtype_that_no_checkpoint_holds_is_refused_in_one_line(tmp_path: Path):
    model = network()
    model.readout.bias.data = model.readout.bias.data.to(torch.float8_e4m3fn)
    want = r"expected one of the dtypes float32, .*, bool, got float8_e4m3fn$"
    with pytest.raises(CheckpointError, match=rf"^model\.safetensors readout\.bias: {want}"):
        model.save_pretrained(tmp_path / "m")
    assert not os.listdir(tmp_path)
    with pytest.raises(CheckpointError, match=f"^tensor: {want}"):
        to_stored(model.readout.bias)


def broken(value: float) -> LanguageModel:
    model = network()
    with torch.no_grad():
        model.readout.bias[3] = value
    return model


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_not_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float
):
    home = network(seed=1).save_pretrained(tmp_path / "m")
    for directory in (home, tmp_path / "new"):
        with pytest.raises(
            CheckpointError,
            match=r"^model\.safetensors readout\.bias: expected finite weights, got NaN or infinity$",
        ):
            broken(value).save_pretrained(directory)
    assert os.listdir(tmp_path) == ["m"]
    assert same(LanguageModel.from_pretrained(home), network(seed=1)), "the earlier save stays"
    monkeypatch.setattr(hub, "HfApi", None)  # nobody is asked
    with pytest.raises(CheckpointError, match=r"readout\.bias: expected finite weights"):
        broken(value).push_to_hub("user/model")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_not_loaded(tmp_path: Path, value: float):
    model = broken(value)
    assert model.tokens is not None
    contents = unrolled.checkpoint.Contents(
        {"model": to_json(model.config)}, model_tensors(model), model.tokens.to_json()
    )
    unrolled.checkpoint.write_into(tmp_path / "m", contents)
    with pytest.raises(CheckpointError, match=r"readout\.bias: expected finite weights, got NaN or infinity"):
        LanguageModel.from_pretrained(tmp_path / "m")
    assert unrolled.checkpoint.read(tmp_path / "m").model, "who looks for the cause can still read them"


def test_a_hub_name_is_fetched_and_its_links_are_followed_within_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    model = network()
    snapshot = cached(tmp_path / "cache", model.save_pretrained(tmp_path / "m"))
    asked: dict[str, Any] = {}

    def download(repo_id: str, **kwargs: Any) -> str:
        asked.update(kwargs, repo_id=repo_id)
        return str(snapshot)

    monkeypatch.setattr(hub, "snapshot_download", download)
    found = LanguageModel.from_pretrained(
        "user/model", revision="v2", cache_dir=tmp_path, token="t", backend="torch"
    )
    assert same(found, model)
    assert found.tokens == model.tokens
    assert sorted(asked.pop("allow_patterns")) == FILES[1:]
    assert asked == {"repo_id": "user/model", "revision": "v2", "cache_dir": tmp_path, "token": "t",
                     "local_files_only": False}  # fmt: skip
    with pytest.raises(CheckpointError, match="regular file"):
        unrolled.load(snapshot)  # by its path it is a directory like any other


def test_a_directory_has_no_revisions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    network().save_pretrained("user/model")
    for name in ("user/model", tmp_path / "user" / "model"):
        with pytest.raises(
            ConfigError,
            match=r"^revision: expected none for the directory '.*user/model', .* no revisions, got 'v2'$",
        ):
            LanguageModel.from_pretrained(name, revision="v2")
    with pytest.raises(RunError, match="which does not exist"):
        LanguageModel.from_pretrained("nothing", revision="v2")


def test_a_link_that_leads_out_of_the_cache_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    source = network().save_pretrained(tmp_path / "m")
    snapshot = cached(tmp_path / "cache", source)
    monkeypatch.setattr(hub, "snapshot_download", lambda *_, **__: str(snapshot))
    (snapshot / "tokens.json").unlink()
    (snapshot / "tokens.json").symlink_to(source / "tokens.json")
    with pytest.raises(
        CheckpointError, match=r"tokens\.json: expected a link into .*models--user--model, got "
    ):
        LanguageModel.from_pretrained("user/model")


def test_the_real_package_finds_what_its_cache_holds_without_a_network(tmp_path: Path):
    model = network("gru")
    cached(tmp_path / "cache", model.save_pretrained(tmp_path / "m"))
    found = LanguageModel.from_pretrained("user/model", cache_dir=tmp_path / "cache", local_files_only=True)
    assert same(found, model)


@pytest.mark.parametrize("name", ["user/other", "runs/book"])
def test_a_name_that_is_nowhere_is_one_line(tmp_path: Path, name: str):
    with pytest.raises(
        RunError, match=f"^{name}: expected a directory here or a model on the Hub, got "
    ) as caught:
        LanguageModel.from_pretrained(name, cache_dir=tmp_path, local_files_only=True)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "name", ["nothing", "./a/b", "a/b/c", "../a/b", "/nonexistent/a", Path("user/model"), "a b/c", "user/"]
)
def test_what_is_no_hub_name_is_a_path_and_asks_nobody(monkeypatch: pytest.MonkeyPatch, name: str | Path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(RunError, match=r"^run: expected a run, .*, got .* which does not exist$"):
        LanguageModel.from_pretrained(name)


def test_without_the_extra_directories_work_and_a_hub_name_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    network().save_pretrained(tmp_path / "m")
    assert same(LanguageModel.from_pretrained(tmp_path / "m"), network())
    for call in (
        lambda: LanguageModel.from_pretrained("user/model"),
        lambda: network().push_to_hub("user/model"),
    ):
        with pytest.raises(MissingExtraError, match=r"pip install 'unrolled\[hub\]'") as caught:
            call()
        assert str(caught.value).isprintable()


class Hub:
    """A stand-in for HfApi that keeps what it is given."""

    there: tuple[str, ...] = ()
    given: dict[str, Any]

    def __init__(self, token: object) -> None:
        Hub.given = {"token": token}

    def create_repo(self, repo_id: str, *, private: bool | None, exist_ok: bool) -> Any:
        assert exist_ok
        Hub.given |= {"private": private}
        return type("Url", (), {"repo_id": repo_id})

    def file_exists(self, repo_id: str, filename: str, *, revision: str | None) -> bool:
        return filename in self.there

    def upload_folder(self, *, repo_id: str, folder_path: Path, **kwargs: Any) -> Any:
        files = {p.name: p.read_bytes() for p in Path(folder_path).iterdir()}
        Hub.given |= {"repo_id": repo_id, "files": files, **kwargs}
        return type("Commit", (), {"commit_url": f"https://hub/{repo_id}/commit/1"})


@pytest.mark.parametrize("there", [(), ("README.md",), ("README.md", *FILES[1:])])
def test_a_push_uploads_the_files_of_a_save_and_a_card_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...]
):
    monkeypatch.setattr(hub, "HfApi", Hub)
    monkeypatch.setattr(Hub, "there", there)
    model = network()
    url = model.push_to_hub("user/model", private=True, token="t", commit_message="better", create_pr=True)
    assert url == "https://hub/user/model/commit/1"
    files = Hub.given.pop("files")
    assert sorted(files) == [name for name in FILES if name != "README.md" or name not in there]
    if not there:
        assert b'from_pretrained("user/model")' in files["README.md"]
    assert Hub.given == {"token": "t", "private": True, "repo_id": "user/model", "commit_message": "better",
                         "revision": None, "create_pr": True}  # fmt: skip
    (tmp_path / "m").mkdir()
    for name, raw in files.items():
        (tmp_path / "m" / name).write_bytes(raw)
    assert same(LanguageModel.from_pretrained(tmp_path / "m"), model)


class Exported:
    """What `unrolled.export.export` returns, as far as a save looks at it."""

    def __init__(self, path: Path, line: str) -> None:
        self.path, self.line = path, line


def test_the_card_names_exports_with_their_checks_and_a_later_save_names_its_own(tmp_path: Path):
    file, folder = tmp_path / "m.onnx", tmp_path / "c"
    file.write_bytes(b"graph")
    folder.mkdir()
    (folder / "model.c").write_text("int x;")
    model, place = network(), tmp_path / "saved"
    model.save_pretrained(place, exports=[Exported(file, "`m.onnx`: equal"), Exported(folder, "`c`: equal")])
    card = (place / "README.md").read_text()
    assert "## Exports\n\n- `m.onnx`: equal\n- `c`: equal\n" in card
    assert (place / "m.onnx").read_bytes() == b"graph"
    assert (place / "c" / "model.c").read_text() == "int x;"
    assert same(LanguageModel.from_pretrained(place), model)
    model.save_pretrained(place, exports=[Exported(place / "m.onnx", "`m.onnx`: as before")])
    card = (place / "README.md").read_text()
    assert card.count("## Exports") == 1
    assert "- `m.onnx`: as before\n" in card
    with pytest.raises(ConfigError, match=r"^exports: expected names that nothing else .* got tokens.json"):
        model.save_pretrained(place, exports=[Exported(tmp_path / "tokens.json", "")])


def test_a_push_adds_exports_to_the_card_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "theirs.md").write_text("# Theirs\n\nwords\n")
    (tmp_path / "m.onnx").write_bytes(b"graph")
    monkeypatch.setattr(hub, "HfApi", Hub)
    monkeypatch.setattr(Hub, "there", ("README.md",))
    fetched = str(tmp_path / "theirs.md")
    monkeypatch.setattr(Hub, "hf_hub_download", lambda *_, **__: fetched, raising=False)
    network().push_to_hub("user/model", exports=[Exported(tmp_path / "m.onnx", "`m.onnx`: equal")])
    files = Hub.given["files"]
    assert files["m.onnx"] == b"graph"
    assert files["README.md"].startswith(b"# Theirs\n\nwords\n\n<!-- exports -->\n## Exports\n")


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokens.json"])
def test_a_push_replaces_no_other_programs_model(monkeypatch: pytest.MonkeyPatch, name: str):
    monkeypatch.setattr(hub, "HfApi", Hub)
    monkeypatch.setattr(Hub, "there", ("README.md", "pytorch_model.bin", name))
    with pytest.raises(
        RunError,
        match=r"^user/model: expected a repository without a model, or with one that was saved by unrolled, "
        f"got {name} of another program$",
    ):
        network().push_to_hub("user/model")
    assert "files" not in Hub.given


def test_a_hub_that_refuses_is_one_line(monkeypatch: pytest.MonkeyPatch):
    class Refusing(Hub):
        def create_repo(self, *_: object, **__: object) -> Any:
            raise OSError("401 Client Error\n\nInvalid username or password.")

    monkeypatch.setattr(hub, "HfApi", Refusing)
    with pytest.raises(RunError) as caught:
        network().push_to_hub("user/model")
    assert (
        str(caught.value) == "user/model: expected a repository of the Hub to write to, got 401 Client Error"
    )


def test_a_config_written_by_hand_loads_with_the_data_section_it_has(tmp_path: Path):
    network().save_pretrained(tmp_path / "m")
    stored = json.loads((tmp_path / "m" / "config.json").read_text())
    assert sorted(stored) == ["model", "task"]
    assert LanguageModel.from_pretrained(tmp_path / "m").data_config is None
