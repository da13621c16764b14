"""File names that do no harm where they are saved."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapter.checks.filenames import MAX_NAME_BYTES, safe_name


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\x.txt", "x.txt"),
        ("a/b\\c.txt", "c.txt"),
        ("..", "attachment"),
        ("", "attachment"),
        (" . ", "attachment"),
        ("CON", "_CON"),
        ("con.txt", "_con.txt"),
        ("COM1.tar.gz", "_COM1.tar.gz"),
        ("lpt\u00b9.txt", "_lpt\u00b9.txt"),
        ("console.txt", "console.txt"),
        ("evil\u202egpj.exe", "evilgpj.exe"),
        ("a\x00b\x1fc.txt", "abc.txt"),
        ("a<b>|c?.txt", "abc.txt"),
        ("name. ", "name"),
        ("Ünïcode \u4e2d.pdf", "Ünïcode \u4e2d.pdf"),
        ("u\u0308.txt", "ü.txt"),
        ("x" * 300 + ".pdf", "x" * 251 + ".pdf"),
        (".gitignore", "gitignore"),
    ],
)
def test_a_name_is_made_safe(given: str, safe: str) -> None:
    assert safe_name(given) == safe


@given(st.text())
def test_any_name_is_made_safe_once_and_for_all(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe.encode()) <= MAX_NAME_BYTES
    assert not set(safe) & set('/\\\0\r\n<>:"|?*')
    assert safe == safe.strip(". ")
    assert safe_name(safe) == safe
