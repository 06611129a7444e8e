"""Export: a network in, a file or a folder out that runs elsewhere, or nothing at all."""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unrolled import files
from unrolled.errors import ConfigError, DataError, NonFiniteError, RunError, expected
from unrolled.export.checks import Check
from unrolled.export.formats import Format, format_of
from unrolled.export.subject import Subject, subject_of
from unrolled.files import quoted
from unrolled.spec import ExportConfig

__all__ = ["Exported", "export"]


@dataclass(frozen=True)
class Exported:
    """What `export` wrote.

    Attributes:
        path: the file or folder.
        to: the format. weights: the type of the weights.
        network: what was exported, in words: "GRU 1 x 64, classify".
        fingerprint: 64 hexadecimal digits of its weights and sizes.
        check: of what was written, on numbers drawn at random.
        file_check: of what was written, on a file of the user's; None where none was named.
    """

    path: Path
    to: str
    weights: str
    network: str
    fingerprint: str
    check: Check
    file_check: Check | None = None

    @property
    def passed(self) -> bool:
        """Whether what was written was compared with ours and says the same, on the user's file too."""
        return self.check.passed and (self.file_check is None or self.file_check.passed)

    @property
    def warning(self) -> str | None:
        """One line where nothing was compared, None where something was."""
        if not self.check.obstacle:
            return None
        return f"{self.path} was written, but not compiled and not compared with ours: {self.check.obstacle}"

    @property
    def nbytes(self) -> int:
        """Bytes of the file, or of all files of the folder."""
        every = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(each.stat().st_size for each in every if each.is_file())

    @property
    def line(self) -> str:
        """One line for a model card: what it is, and what the check found."""
        return f"`{self.path.name}`: {self.to}, {self.weights} weights; {self.check}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "path": str(self.path), "to": self.to, "weights": self.weights, "network": self.network,
            "fingerprint": self.fingerprint, "bytes": self.nbytes, "check": self.check.to_dict(),
            "file_check": None if self.file_check is None else self.file_check.to_dict(),
        }  # fmt: skip

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {self.network}, {self.weights} weights, {self.nbytes:,} bytes",
            str(self.check),
        ]
        if self.file_check is not None:
            lines.append(f"your file: {self.file_check}")
        return "\n".join(lines)


def export(
    source: Any,
    *,
    to: str,
    out: str | Path,
    weights: str | None = None,
    check: str | None = None,
    opset: int | None = None,
    prefix: str | None = None,
    weights_file: bool = False,
    overwrite: bool = False,
) -> Exported:
    """Write a trained network in a format that runs without this package, and compare it with ours there.

    Args:
        source: a run, checkpoint or model directory; what `unrolled.load` returns; a task's network; or an
            RNN, LSTM or GRU of `unrolled.nn` or torch.nn.
        to: "onnx" (whole sequences), "onnx-step" (one step, its state an input and an output), "c" (C99),
            "torch" (a script of plain torch with its weights), "keras" (a model of Keras).
        out: the file, or for "c" and "torch" the folder; its parent exists.
        weights: "float32" or "int8"; default float32.
        check: a file like that of training: what was written and ours are run on it, too.
        opset: of ONNX's operators; default 17.
        prefix: of "c": what its names and files begin with; default "model".
        weights_file: of "c": leave the weights out of the code, in a file that the program gives to it.
        overwrite: replace what is at `out`.
    Returns:
        What was written, and what the checks found. Where `Exported.passed` is False, the user's file showed
        a difference, and what was written is kept for a look; or there is no C compiler, so that nothing was
        compared, as `Exported.warning` says.
    Raises:
        ConfigError: a setting is out of range, the format cannot say what this network does, or something is
            at `out`. RunError, CheckpointError: the source cannot be loaded, or `out` cannot be written.
        DataError: the file to check on has other columns. NonFiniteError: a weight is NaN or infinite, or
            what was written gave other numbers than ours; then nothing is left at `out`. MissingExtraError:
            a package is not installed.
    """
    options = {"opset": opset, "prefix": prefix, "weights_file": weights_file}
    settings = {"weights": weights, "check": check, "overwrite": overwrite, **options}
    ExportConfig(".", to=to, out=os.fspath(out), **settings)  # type: ignore[arg-type]
    form, path = _form(to, opset, prefix, weights_file), Path(out)
    chosen = weights or form.weights[0]
    if chosen not in form.weights:
        raise ConfigError(expected("weights", f"{' or '.join(form.weights)} with `to` {to}", chosen))
    if not os.fspath(out):
        raise ConfigError(expected("out", "a path", "an empty text"))
    _check_place(path, form, overwrite=overwrite)
    subject = subject_of(source)
    subject.check(zoneout=getattr(form, "zoneout", False))
    form.check(subject)
    with _in_the_making(path, form.directory) as new:
        found = form.write(subject, new, weights=chosen)
        if form.directory:
            about = {**subject.metadata(), "to": to, "weights": chosen, "check": found.to_dict()}
            (new / MARK).write_text(json.dumps(about, indent=2), encoding="utf-8")
        if not found.passed and not found.obstacle:
            want = f"the numbers of ours from what was written as {to}"
            raise NonFiniteError(expected("export", want, str(found)))
        on_file = None if check is None else _on_file(form, subject, new, check, chosen)
        _put(new, path, overwrite=overwrite)
    return Exported(path, to, chosen, subject.describe(), subject.fingerprint, found, on_file)


def _on_file(form: Format, subject: Subject, new: Path, source: str, weights: str) -> Check:
    """Compare on a user's file. Raises DataError: it is not like that of training; the line names it."""
    try:
        return form.compare(subject, new, source, weights=weights)
    except (ConfigError, DataError) as error:
        if str(error).startswith("check: "):
            raise
        want = "a file like that of training"
        raise DataError(expected("check", want, f"{quoted(source)} ({error})")) from error


def _form(to: str, opset: int | None, prefix: str | None, weights_file: bool) -> Format:
    """Return a format with its own settings. Raises ConfigError: one of them belongs to another format."""
    form: Any = format_of(to)
    if opset is not None:
        if not hasattr(form, "at_opset"):
            raise ConfigError(expected("opset", "`to` onnx or onnx-step beside it", to))
        form = form.at_opset(opset)
    if prefix is not None or weights_file:
        if not hasattr(form, "with_options"):
            name = "prefix" if prefix is not None else "weights_file"
            raise ConfigError(expected(name, "`to` c beside it", to))
        form = form.with_options(prefix=prefix, apart=weights_file)
    return form  # type: ignore[no-any-return]


def _check_place(path: Path, form: Format, *, overwrite: bool) -> None:
    """Raise ConfigError, before anything is read, where nothing can be written, or something is there."""
    got = quoted(str(path))
    kind = "folder" if form.directory else "file"
    try:
        if not path.name or "\0" in str(path) or not path.parent.is_dir():
            raise ConfigError(expected("out", f"a {kind} in a directory that exists", got))
        suffix = getattr(form, "suffix", path.suffix)
        if path.suffix != suffix:
            raise ConfigError(
                expected("out", f"a name that ends in {suffix}, which its reader asks for", got)
            )
        if not os.path.lexists(path):
            return
        if not overwrite:
            raise ConfigError(expected("out", "a place where nothing is yet, or `overwrite`", got))
        if path.is_symlink() or path.is_dir() != form.directory or not (path.is_dir() or path.is_file()):
            raise ConfigError(expected("out", f"a {kind}, which alone `overwrite` replaces", got))
        if form.directory and any(path.iterdir()) and not _is_export(path):
            raise ConfigError(expected("out", "a folder that an export has written", got))
    except OSError as error:  # a name that is too long, no permission
        raise ConfigError(
            expected("out", f"a {kind} that can be written", f"{got}: {error.strerror}")
        ) from None


MARK = "export.json"  # in every folder that an export writes


def _is_export(path: Path) -> bool:
    return (path / MARK).is_file()


@contextmanager
def _in_the_making(path: Path, directory: bool) -> Iterator[Path]:
    """Give a new place beside a path; whatever is there afterwards is removed."""
    new = path.with_name(files.temporary(path.name))
    try:
        with files.writing(path):
            if directory:
                new.mkdir()
            else:
                new.touch(exist_ok=False)
        yield new
    except RunError as error:
        if not str(error).startswith(str(new)):
            raise
        raise RunError(f"{path}:{str(error).partition(':')[2]}") from error
    except OSError as error:
        full = error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
        if not full and not str(error.filename or "").startswith(str(new)):
            raise
        with files.writing(path):  # says where it was to be, and not what it was called in the making
            raise
    finally:
        with suppress(OSError):
            if new.is_dir():
                shutil.rmtree(new)
            else:
                new.unlink(missing_ok=True)


def _put(new: Path, path: Path, *, overwrite: bool) -> None:
    """Give what was written its name: it is there whole, or not at all."""
    with files.writing(path):
        for each in [*new.rglob("*"), new] if new.is_dir() else [new]:
            if each.is_file():
                with open(each, "rb+") as file:
                    os.fsync(file.fileno())
        if new.is_dir() and overwrite and path.is_dir():
            old = path.with_name(files.temporary(path.name))
            os.rename(path, old)
            os.rename(new, path)
            shutil.rmtree(old)
        else:
            os.replace(new, path)
        files.sync_directory(path.parent)
