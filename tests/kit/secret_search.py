"""Pytest plugin: searches all that a test run left behind for every secret that the sandbox gave out in it.

Each process of the run (there are several with pytest-xdist) notes what its tests logged, printed, showed and
kept, and searches that at its end, the files under its temporary folder too. A find fails the whole run.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY, generate_latest

GRAM = 20
"""So many characters of a secret, from its beginning, are a find: a shortened one is a leak too."""
_WORD = re.compile(rf"[A-Za-z0-9_.~+/=-]{{{GRAM},}}")


class Search:
    """What was seen, by place, and the secrets that must not be in it."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self.seen_bytes: Counter[str] = Counter()
        self._words: dict[str, set[str]] = {}

    def note(self, place: str, text: str) -> None:
        """Keep of a text only what could be a secret."""
        self.seen_bytes[place] += len(text)
        self._words.setdefault(place, set()).update(_WORD.findall(text))

    def finds(self) -> list[str]:
        """Name each place with a secret in it; the secret is shortened."""
        grams = {secret[:GRAM] for secret in self.secrets if len(secret) >= GRAM}
        return [
            f"{place}: {word[at : at + 6]}..."
            for place, words in sorted(self._words.items())
            for word in sorted(words)
            for at in range(len(word) - GRAM + 1)
            if word[at : at + GRAM] in grams
        ]


SEARCH = Search()
"""The search of this process."""


class Notes(logging.Handler):
    """Every log record of every logger, formatted whole, with tracebacks and arguments."""

    def __init__(self, search: Search | None = None) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self._search = search
        self.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        # The test's own browser is not the product: that one asks Microsoft from its threads.
        if record.name.startswith("http") and not str(record.threadName).startswith("signin"):
            return
        line = f"{self.format(record)} {record.args!r}"
        if self._search is None:
            self.lines.append(line)
        else:
            self._search.note("the logs", line)


class _Totals:
    """What the processes of the run found, put together by the one that the user started."""

    def __init__(self) -> None:
        self.finds: list[str] = []
        self.secrets = 0
        self.seen_bytes: Counter[str] = Counter()

    def add(self, told: dict[str, Any]) -> None:
        self.finds += told["finds"]
        self.secrets += told["secrets"]
        self.seen_bytes.update(told["seen_bytes"])


_TOTALS = pytest.StashKey[_Totals]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_TOTALS] = _Totals()
    if _runs_tests(config):
        logging.getLogger().addHandler(Notes(SEARCH))
        config.pluginmanager.register(_Output())


def _runs_tests(config: pytest.Config) -> bool:
    """Whether tests run in this process; with pytest-xdist they do in its workers alone."""
    return hasattr(config, "workerinput") or config.getoption("dist", "no") == "no"


class _Output:
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note what a test printed. Its log is noted record by record, without the test's own browser."""
        for title, text in report.sections:
            if "log" not in title:
                SEARCH.note("the output", text)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    told = getattr(node, "workeroutput", {}).get("secretsearch")
    if told:
        node.config.stash[_TOTALS].add(told)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Search; a worker tells the process that started it, which fails the run for a find of anybody."""
    totals = session.config.stash[_TOTALS]
    if _runs_tests(session.config):
        told = _search(session.config)
        totals.add(told)
        getattr(session.config, "workeroutput", {})["secretsearch"] = told
    if totals.finds:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _search(config: pytest.Config) -> dict[str, Any]:
    SEARCH.note("the metrics", generate_latest(REGISTRY).decode())
    for path in _files(config):
        SEARCH.note("the files", path.read_bytes().decode("latin-1"))
    return {
        "finds": SEARCH.finds(),
        "secrets": len(SEARCH.secrets),
        "seen_bytes": dict(SEARCH.seen_bytes),
    }


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    totals = config.stash[_TOTALS]
    if not totals.secrets:
        return
    for find in totals.finds:
        terminalreporter.write_line(f"A secret stands in {find}", red=True)
    places = ", ".join(f"{place} ({size / 1e6:.1f} MB)" for place, size in sorted(totals.seen_bytes.items()))
    found = f"{len(totals.finds)} finds" if totals.finds else "none is in them"
    terminalreporter.write_line(f"Searched for {totals.secrets} secrets: {found}: {places}")


def _files(config: pytest.Config) -> Iterable[Path]:
    """Yield what the tests of this process left in their folders; sparse files hold nothing but room."""
    folder = config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            size = path.stat()
            if size.st_blocks * 512 * 4 >= size.st_size:
                yield path
