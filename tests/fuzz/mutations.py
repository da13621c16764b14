"""Seeded damage: to bytes, to JSON, to text, so that a failing input is found again by its number."""

import json
import random
from typing import Any

TEXTS = (
    "",
    " ",
    "\x00",
    "\x1b[2J",
    "\x9b",
    "\ud83d",
    "\udce9",
    "\u202e",
    "two\nlines",
    "x" * 5000,
    "../../etc/passwd",
    "%s%n{0}{name}",
    "[a](http://evil.example)",
    "<script>",
    "microsoft",
    "google",
    "true",
    "1e400",
    "NaN",
    "9" * 30,
    "٣",
    "0x10",
    "+Inf",
    '"',
    "\\",
)
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1e308,
    -1e308,
    1e-320,
    2**53,
    10**30,
    float("nan"),
    float("inf"),
    [],
    {},
    [[]],
    [None],
    {"": ""},
    *TEXTS,
)


IMPOSSIBLE: tuple[Any, ...] = (None, -1, 1e308, -1e308, 10**30, float("nan"), [], {}, [None], *TEXTS)
"""No count at all: none of them makes a broken feature look well."""


class Mutator(random.Random):
    """Damages what it is given; the same seed does the same damage."""

    def __init__(self, seed: int, values: tuple[Any, ...] = VALUES, *, spares_digits: bool = False) -> None:
        super().__init__(seed)
        self._values = values
        self._spares_digits = spares_digits
        """Numbers stay as they are, where another number would be as good an answer."""

    def bytes_of(self, data: bytes) -> bytes:
        """Change, drop, double or cut some of it."""
        damaged = bytearray(data)
        for _ in range(self.randint(1, 4)):
            at, length = self.randrange(len(damaged) + 1), self.randint(1, 8)
            how = self.randrange(5)
            if self._spares_digits and how != 3 and _has_digit(damaged[max(0, at - 1) : at + length + 1]):
                continue
            if how == 0:
                damaged[at : at + length] = self.randbytes(length)
            elif how == 1:
                del damaged[at : at + length]
            elif how == 2:
                damaged[at:at] = damaged[max(0, at - 2) : at]
            elif how == 3:
                del damaged[at:]
            else:
                damaged[at:at] = self.choice(TEXTS).encode("utf-8", "surrogatepass")
        return bytes(damaged)

    def json_of(self, value: Any) -> Any:
        """Put something else in the place of one part, drop it, double it or name it otherwise."""
        if isinstance(value, dict) and value and self.random() < 0.9:
            return self._object(dict(value))
        if isinstance(value, list) and value and self.random() < 0.9:
            return self._list(list(value))
        return self.choice(self._values)

    def text_of(self, value: Any) -> str:
        """Write a damaged copy of a value as JSON, which may hold NaN and half surrogate pairs."""
        return json.dumps(self.json_of(value))

    def _object(self, value: dict[str, Any]) -> dict[str, Any]:
        key, how = self.choice(list(value)), self.random()
        if how < 0.7:
            value[key] = self.json_of(value[key])
        elif how < 0.85:
            del value[key]
        else:
            value[self.choice(TEXTS)] = value.pop(key)
        return value

    def _list(self, value: list[Any]) -> list[Any]:
        at, how = self.randrange(len(value)), self.random()
        if how < 0.7:
            value[at] = self.json_of(value[at])
        elif how < 0.85:
            del value[at]
        else:
            value.append(value[at])
        return value


def _has_digit(part: bytearray) -> bool:
    return any(48 <= byte <= 57 for byte in part)
