"""The flags of `train`: which tasks have each, which task they name, and how the help groups them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import MISSING, dataclass, fields, replace

from unrolled import spec
from unrolled.errors import ConfigError, expected

__all__ = ["DataFlag", "check_task", "data_flags", "groups_of_training", "named_task", "title_of"]

# where a group of TrainConfig's flags begins, in the order of its fields
BEGINNINGS = {
    "run": "the run, and how long it takes",
    "cell": "the network",
    "bptt_steps": "the training",
    "dtype": "the computation",
    "save_every": "what is kept and logged",
}
TEXT = "a text"
NAMES_TASK = "what is predicted (without one of these: the next symbol of a text)"


@dataclass(frozen=True)
class DataFlag:
    """A setting of the data, and the kinds of tasks that have it."""

    setting: spec.Setting
    kinds: tuple[spec.TaskKind, ...]

    @property
    def names_task(self) -> bool:
        """Whether giving it says which task is meant."""
        return any(kind.asked_by == self.setting.name for kind in self.kinds)

    @property
    def may_be_bare(self) -> bool:
        """Whether it says enough without a value: the task, which then finds the column."""
        return self.names_task and self.setting.optional and self.setting.type is str


def asked_kinds() -> list[spec.TaskKind]:
    """Return the kinds of tasks that the command line trains, that of a text first."""
    return [k for k in spec.TASKS.values() if k is spec.LANGUAGE or k.asked_by is not None]


def data_flags() -> list[DataFlag]:
    """Return every setting of every task's data once, those of one flag put together."""
    found: dict[str, DataFlag] = {}
    for kind in asked_kinds():
        for each in spec.settings(kind.data):
            if each.flag is None:
                continue
            known = found.get(each.name)
            one = each if known is None else _merged(known, each, kind)
            found[each.name] = DataFlag(one, (*(known.kinds if known else ()), kind))
    return sorted(found.values(), key=_place)


def _place(flag: DataFlag) -> int:
    """Return where the help shows a flag: those that name a task first, then what more tasks have."""
    return -(len(asked_kinds()) + 1 if flag.names_task else len(flag.kinds))


def _merged(known: DataFlag, other: spec.Setting, kind: spec.TaskKind) -> spec.Setting:
    """Return one setting for both: its help says what each task makes of it, where that differs."""
    first = known.setting
    differ = first.default != other.default
    told = _told(first) if differ else first.help
    if other.help not in told:
        told += f"; {_with([kind])}: {_told(other) if differ else other.help}"
    choices = tuple(dict.fromkeys((*first.choices, *other.choices)))
    return replace(first, help=told, choices=choices, default=_common(first.default, other.default))


def _told(setting: spec.Setting) -> str:
    """Return a setting's help with its default, for one of several tasks that have different ones."""
    unsaid = setting.default in (None, False, "", MISSING) or "default:" in setting.help
    return setting.help if unsaid else f"{setting.help}; default: {setting.default}"


def _common(first: object, second: object) -> object:
    return first if first == second else None


def title_of(flag: DataFlag) -> str:
    """Return the heading under which the help shows a setting of the data."""
    if flag.names_task:
        return NAMES_TASK
    if len(flag.kinds) == len(asked_kinds()):
        return "the data, of every task"
    return f"the data, {_with(flag.kinds)}"


def _with(kinds: Collection[spec.TaskKind]) -> str:
    """Return which flags name some tasks: "for a text", "with --label or --target"."""
    flags = [_flag(kind) for kind in kinds if kind.asked_by is not None]
    words = [f"for {TEXT}"] if len(flags) < len(kinds) else []
    if flags:
        words.append("with " + ", ".join(flags[:-1]) + " or " * (len(flags) > 1) + flags[-1])
    return ", or ".join(words)


def _flag(kind: spec.TaskKind) -> str:
    return str(spec.setting_of(kind.data, str(kind.asked_by)).flag)


def groups_of_training() -> Mapping[str, list[spec.Setting]]:
    """Return TrainConfig's settings by the heading under which the help shows them."""
    found: dict[str, list[spec.Setting]] = {}
    title = ""
    for each in spec.settings(spec.TrainConfig):
        title = BEGINNINGS.get(each.name, title)
        found.setdefault(title, []).append(each)
    return found


def named_task(given: Collection[str]) -> spec.TaskKind:
    """Return the kind of task that the given settings name; a text, where none of them names one.

    Of several flags that name a task, the one whose task has most of them counts: a forecast has a target.

    Raises:
        ConfigError: they name different tasks.
    """
    kinds = [kind for kind in asked_kinds() if kind.asked_by in given]
    if not kinds:
        return spec.LANGUAGE
    asked = [str(kind.asked_by) for kind in kinds]
    has = [len(set(asked) & {field.name for field in fields(kind.data)}) for kind in kinds]
    if has.count(max(has)) == 1:
        return kinds[has.index(max(has))]
    raise ConfigError(expected(asked[0], f"no `{asked[1]}` beside it, as each names another task", "both"))


def check_task(kind: spec.TaskKind, given: Collection[str]) -> None:
    """Raise ConfigError where a setting of the data is given that the task does not have."""
    own = {each.name for each in spec.settings(kind.data)}
    for flag in data_flags():
        name = flag.setting.name
        if name in given and name not in own:
            beside = [f"`{each.asked_by}`" for each in flag.kinds if each.asked_by is not None]
            if kind.asked_by is None:
                raise ConfigError(
                    expected(
                        name, f"{' or '.join(beside)} beside it", "neither" if len(beside) > 1 else "none"
                    )
                )
            why = "each names another task" if flag.names_task else f"it is a setting {_with(flag.kinds)}"
            want = f"no `{kind.asked_by}` beside it, as {why}"
            raise ConfigError(expected(name, want, "both"))
