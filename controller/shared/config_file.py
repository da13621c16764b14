"""A configuration file: its tables, and for every mistake the file, the line and what to write instead."""

import difflib
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controller.shared.value_readers import Reader

_MOST_BYTES = 16 * 1024 * 1024
_AT = re.compile(r"(?P<why>.*) \(at line (?P<line>\d+), column \d+\)\Z", re.DOTALL)
_LONGEST_SHOWN = 80


class ConfigError(ValueError):
    """A mistake in the configuration, with its place and what to write instead, in one line."""


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a configuration file, which knows on what line each of its keys is."""

    name: str
    values: Any
    text: str = ""
    source: str = "configuration"

    def mistake(self, key: str, message: str) -> ConfigError:
        """Return the error for a mistake at one key; an empty key means the table itself."""
        return ConfigError(f"{self.source}:{line_of(self.text, self.name, key)}: [{self.name}] {message}")

    def inner(self, key: str) -> "Table":
        """Return the table at one key of this one."""
        return Table(f"{self.name}.{key}", self.values[key], self.text, self.source)

    def read(self, readers: Mapping[str, Reader[Any]], secrets: Collection[str] = ()) -> dict[str, Any]:
        """Read each value with the reader of its key; raises ConfigError for the first mistake."""
        if not isinstance(self.values, Mapping):
            raise self.mistake("", "must be a table")
        return {key: self._one(key, value, readers, secrets) for key, value in self.values.items()}

    def _one(self, key: str, value: Any, readers: Mapping[str, Reader[Any]], secrets: Collection[str]) -> Any:
        if key not in readers:
            raise self.mistake(key, f"unknown key {key!r}; {probably(key, readers)}")
        try:
            return readers[key](value)
        except ValueError as error:
            raise self.mistake(key, refusal(key, value, error, key in secrets)) from error


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """The text and the values of a TOML file."""

    path: Path
    text: str
    document: Mapping[str, Any]

    def table(self, name: str) -> Table:
        """Return a table of the file; an empty one where it is missing."""
        return Table(name, self.document.get(name, {}), self.text, str(self.path))

    def refuse_unknown_tables(self, known: Collection[str]) -> None:
        """Raise ConfigError for the first table or key at the top that is not one of `known`."""
        for name, value in self.document.items():
            if name not in known:
                line = (
                    line_of(self.text, name, "") if isinstance(value, dict) else line_of(self.text, "", name)
                )
                shown = ", ".join(f"[{one}]" for one in known)
                raise ConfigError(f"{self.path}:{line}: unknown key {name!r}; known are {shown}")


def read_config_file(path: Path) -> ConfigFile:
    """Read a TOML file; raises ConfigError where it cannot be read, with the line."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path given") from error
    if len(content) > _MOST_BYTES:
        raise ConfigError(f"{path}: is larger than {_MOST_BYTES} bytes, so it is no configuration")
    text = _decoded(path, content)
    try:
        return ConfigFile(path, text, tomllib.loads(text))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        found = _AT.match(str(error))
        line, why = (found["line"], found["why"]) if found else (_end_of(text), str(error))
        raise ConfigError(f"{path}:{line}: is not TOML: {' '.join(why.split())}") from error


def _end_of(text: str) -> int:
    """Return the last line: the parser names none for a mistake that it finds there."""
    return max(len(text.splitlines()), 1)


def _decoded(path: Path, content: bytes) -> str:
    if content.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError(f"{path}:1: begins with a byte order mark; save the file as UTF-8 without one")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 (Latin-1?); save the file as UTF-8") from error


def line_of(text: str, table: str, key: str) -> int:
    """Return the line (from 1) of a key in a table, of the table's header if the key has none, else 1.

    The table "" is what stands before the first header.
    """
    header, found = 1, not table
    wanted = _parts(table)
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("["):
            found = bool(table) and _parts(stripped.strip("[]").split("#")[0].strip("] ")) == wanted
            header = number if found else header
        elif found and key and re.match(rf"[\"']?{re.escape(key)}\b[\"']?\s*[=.]", stripped):
            return number
    return header


def _parts(dotted: str) -> list[str]:
    return [part.strip().strip("\"'") for part in dotted.split(".")]


def refusal(name: str, value: Any, reason: object, secret: bool = False) -> str:
    """Say why a value cannot be used; one that may hold a password is not shown."""
    shown = repr(value)
    if secret or "@" in shown or len(shown) > _LONGEST_SHOWN:
        return f"{name}: the value given {reason}"
    return f"{name} = {shown} {reason}"


def probably(name: str, known: Iterable[str]) -> str:
    """Name what was probably meant, else everything known."""
    names = {one.casefold(): one for one in sorted(known)}
    close = difflib.get_close_matches(name.casefold(), names, n=1)
    return f"did you mean {names[close[0]]}?" if close else f"known are {', '.join(names.values())}"
