"""Readers of single values: each takes what TOML holds, or the text of a variable, or says what to write."""

import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar
from urllib.parse import SplitResult, urlsplit

from controller.shared.redis_url import SCHEMES, parse_target

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reader(Generic[T]):
    """Reads one value; raises ValueError with a reason that follows "NAME = VALUE", as "must be ..."."""

    check: Callable[[Any], T]
    """Takes a value of TOML."""
    of_text: Callable[[str], Any] = str
    """Makes the text of a variable the value of TOML that it means; what it cannot read stays a text."""

    def __call__(self, value: Any) -> T:
        """Read a value of TOML."""
        return self.check(value)

    def text(self, text: str) -> T:
        """Read the text of a variable."""
        return self.check(self.of_text(text))


def text(pattern: str = r"(?s).*\S.*", example: str = "") -> Reader[str]:
    """Return a reader of texts that match; blanks around one are dropped."""
    how = f'; write it as in "{example}"' if example else ""

    def check(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise ValueError(f"must be a text{how}" if not isinstance(value, str) else f"cannot be used{how}")
        return value.strip()

    return Reader(check)


def checked_text(parse: Callable[[str], object]) -> Reader[str]:
    """Return a reader of texts that `parse` takes; it raises ValueError with the reason."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("must be a text")  # noqa: TRY004 - what a reader raises
        parse(value)
        return value

    return Reader(check)


def number(low: float, high: float, unit: str = "") -> Reader[float]:
    """Return a reader of numbers from `low` to `high`."""

    def check(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise ValueError(f"must be a number from {low:g} to {high:g} {unit}".rstrip())
        return float(value)

    return Reader(check, _plain_number(float))


def count(low: int, high: int) -> Reader[int]:
    """Return a reader of whole numbers from `low` to `high`."""

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return value

    return Reader(check, _plain_number(int))


def _plain_number(kind: Callable[[str], Any]) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            return kind(text) if re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?", text) else text
        except ValueError:
            return text

    return read


def one_of(*choices: str) -> Reader[str]:
    """Return a reader of one of these texts."""

    def check(value: Any) -> str:
        if value not in choices:
            raise ValueError(f"is not one of {', '.join(choices)}")
        return str(value)

    return Reader(check)


def texts(*choices: str) -> Reader[tuple[str, ...]]:
    """Return a reader of lists of texts, as variables separated by commas; with choices, only of these."""

    def check(value: Any) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
            raise ValueError("must be a list of texts")
        for one in value:
            if choices and one not in choices:
                raise ValueError(f"has {one!r}, which is not one of {', '.join(choices)}")
        return tuple(value)

    return Reader(check, split)


def checked_texts(parse: Callable[[tuple[str, ...]], object]) -> Reader[tuple[str, ...]]:
    """Return a reader of lists of texts that `parse` takes; it raises ValueError with the reason."""

    def check(value: Any) -> tuple[str, ...]:
        found = texts()(value)
        parse(found)
        return found

    return Reader(check, split)


def split(text: str) -> list[str]:
    """Return the parts between commas, without blanks and empty ones."""
    return [part.strip() for part in text.split(",") if part.strip()]


def from_file(reader: Reader[T]) -> Reader[T]:
    """Return a reader of paths, which reads the content of the file."""

    def check(value: Any) -> T:
        return reader.text(read_secret_file(Path(text()(value))))

    return Reader(check)


def read_secret_file(path: Path) -> str:
    """Return what a file holds, without blanks around it; raises ValueError."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"names {path}, which is not UTF-8; save it as UTF-8") from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(
            f"names {path}, which cannot be read ({why}); check the path and its rights"
        ) from error


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - what a reader raises
    return value


def _flag_of_text(text: str) -> Any:
    return {"true": True, "false": False}.get(text.lower(), text)


def _existing(value: str) -> None:
    try:
        found = Path(value).is_file()
    except OSError:  # a path that no file can have
        found = False
    if not found:
        raise ValueError("is no file; check the path")


def _certificates(value: str) -> None:
    _existing(value)
    try:
        ssl.create_default_context(cafile=value)
    except ssl.SSLError:
        raise ValueError("holds no certificate in PEM; name the file of the authority") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None


def read_url(text: str, *schemes: str) -> str:
    """Return a URL of one of these schemes, without a slash at its end; raises ValueError, which hides it."""
    try:
        parts = urlsplit(text)
    except ValueError:  # whose words show what stands in the URL
        raise ValueError("is no URL; write signs of a password that mean something in one as %XX") from None
    if text.partition("://")[0] not in schemes or not (parts.netloc or parts.path):
        raise ValueError(f"must be a URL that begins with {' or '.join(f'{s}://' for s in schemes)}")
    if not _good_port(parts):
        raise ValueError("must have a port of 1 to 65535, if any")
    return text.rstrip("/")


def _good_port(parts: SplitResult) -> bool:
    """Whether a URL names no port or a possible one; what stands there instead may be half a password."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def _read_redis_url(text: str) -> str:
    return read_url(text, *SCHEMES) if parse_target(text) is None else text.rstrip("/")


def _url(read: Callable[[str], str]) -> Reader[str]:
    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("must be a text")  # noqa: TRY004 - what a reader raises
        url = value.strip()
        if " " in url or not url.isprintable():
            raise ValueError("may hold no blank and nothing that does not print; write it as %XX")
        return read(url)

    return Reader(check)


def read_address(text: str) -> tuple[str, int]:
    """Return the host and the port of HOST:PORT; raises ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > 65_535:
        raise ValueError("must be HOST:PORT, as in 127.0.0.1:8003")
    return host.strip("[]"), int(port)


flag = Reader(_flag, _flag_of_text)
existing_file = checked_text(_existing)
ca_file = checked_text(_certificates)
http_url = _url(lambda text: read_url(text, "http", "https"))
exact_url = checked_text(lambda text: read_url(text, "http", "https"))
https_url = _url(lambda text: read_url(text, "https"))
redis_url = _url(_read_redis_url)
address = checked_text(read_address)
