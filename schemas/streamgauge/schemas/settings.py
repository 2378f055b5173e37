"""Settings: one frozen dataclass per process, filled from flag > environment > file > default, all errors at once.

A field declared with `setting(...)` is one setting: its help text, its environment variable `STREAMGAUGE_<NAME>` and,
on the command line, its flag `--<name>`. Unknown `STREAMGAUGE_*` variables and unknown keys of a file are errors.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from streamgauge.schemas.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

PREFIX = "STREAMGAUGE_"
T = TypeVar("T")


class Secret:
    """Text that never shows in `repr`, `str`, logs or pickles. `reveal()` is the only way to read it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself, for the one call that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)" if self._text else "Secret()"

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, _: object) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled: read the settings again where it is needed")

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)


def text(value: str) -> str:
    """Text as it is, without surrounding blanks."""
    return value.strip()


def flag(value: str) -> bool:
    """1/true/yes/on or 0/false/no/off, in any case."""
    word = value.strip().lower()
    if word in {"1", "true", "yes", "on"}:
        return True
    if word in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("say true or false")


def names(value: str) -> tuple[str, ...]:
    """A comma-separated list."""
    return tuple(part.strip() for part in value.split(",") if part.strip())


def paths(value: str) -> tuple[Path, ...]:
    """A comma-separated list of files or directories."""
    from pathlib import Path  # every application loads this module, and few have paths to read

    return tuple(Path(part) for part in names(value))


def pairs(value: str) -> tuple[tuple[str, str], ...]:
    """`name=value` pairs, comma-separated."""
    found = [part.partition("=") for part in names(value)]
    # by number: the text of a part can be a piece of a password
    if bad := [str(number) for number, (_, equals, _) in enumerate(found, 1) if not equals]:
        raise ValueError(f"expected name=value, comma-separated; there is no = in part {', '.join(bad)}")
    return tuple((name.strip(), rest.strip()) for name, _, rest in found)


MAX_LIFE = 200


def life(value: str) -> str:
    """A word that names one life of the topics: it is part of tokens, of messages and of commit metadata."""
    word = value.strip()
    if len(word) > MAX_LIFE or len(word.split()) > 1:
        raise ValueError(f"say one word of at most {MAX_LIFE} characters")
    return word


def country(value: str) -> str:
    """Two letters for a country, in capitals; none is fine."""
    code = value.strip().upper()
    if code and not re.fullmatch("[A-Z]{2}", code):
        raise ValueError("say the two letters of a country, such as DE")
    return code


_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
FOR_EVER = -1


def duration_ms(value: str) -> int:
    """`250ms`, `10s`, `5m`, `2h`, `30d` as milliseconds; `forever` as -1."""
    word = value.strip().lower()
    if word in {"forever", "for ever", "-1"}:
        return FOR_EVER
    match = re.fullmatch(r"(\d+)\s*(ms|s|m|h|d)", word)
    if not match:
        raise ValueError("say a number and a unit (ms, s, m, h, d), for instance 90s, or forever")
    return int(match[1]) * _UNITS_MS[match[2]]


def size_bytes(value: str) -> int:
    """`64MiB`, `512KiB`, `1GiB` or a plain number as bytes."""
    match = re.fullmatch(r"(\d+)\s*(|KiB|MiB|GiB)", value.strip())
    if not match:
        raise ValueError("say a number of bytes, or with KiB, MiB, GiB")
    return int(match[1]) << {"": 0, "KiB": 10, "MiB": 20, "GiB": 30}[match[2]]


def setting(default: Any, help_text: str, parse: Callable[[str], Any] = text) -> Any:
    """Declare one setting of a frozen dataclass. `parse` turns its text into a value and raises ValueError with advice."""
    return dataclasses.field(default=default, metadata={"help": help_text, "parse": parse})


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + name.upper()


def load(
    cls: type[T],
    flags: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    file: Mapping[str, Any] | None = None,
    known: Iterable[str] = (),
) -> T:
    """Fill the settings dataclass `cls`.

    `flags` hold values or text (None: not given), `environ` and `file` hold text. `known` names settings of other parts
    that may stand in the environment or the file without being an error here. Raises SettingsError with every problem.
    """
    environ, file = environ or {}, file or {}
    declared = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]  # T is a dataclass by contract
    allowed = {*declared, *known}
    variables = set(map(variable, allowed))
    unknown = sorted(key for key in environ if key.startswith(PREFIX) and key not in variables)
    problems = [f"{key}: there is no such setting" for key in unknown]
    problems += [f"{key} (settings file): there is no such setting" for key in sorted(file.keys() - allowed)]
    values: dict[str, Any] = {}
    for name, one in declared.items():
        sources = (
            (f"--{name.replace('_', '-')}", (flags or {}).get(name)),
            (variable(name), environ.get(variable(name))),
        )
        for where, given in (*sources, (f"{name} (settings file)", file.get(name))):
            if given is None:
                continue
            try:
                values[name] = one.metadata["parse"](given) if isinstance(given, str) else given
            except ValueError as error:
                problems.append(f"{where}: {error}")
            break
    if problems:
        raise SettingsError(problems)
    return cls(**values)


def read_file(path: Path) -> dict[str, Any]:
    """A TOML settings file as text values; lists and tables become `a,b` and `name=value,…`.

    Raises SettingsError when it cannot be read.
    """
    import tomllib

    try:
        return {key: _as_text(value) for key, value in tomllib.loads(path.read_bytes().decode()).items()}
    except OSError as error:
        raise SettingsError([f"{path}: {error.strerror}"]) from error
    except UnicodeDecodeError as error:
        raise SettingsError([f"{path}: not UTF-8; save it as UTF-8"]) from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{path}: {error}"]) from error


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, cast("list[Any]", value)))
    if isinstance(value, dict):
        return ",".join(f"{name}={one}" for name, one in cast("dict[str, Any]", value).items())
    return str(value)
