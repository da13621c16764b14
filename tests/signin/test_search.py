"""The search for secrets that follows every test here finds one, wherever it stands."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from kit.secret_search import Notes
from kit.servers import RedisServer
from kit.signin import Monitor, leaks
from kit.waiting import until
from redis import Redis

SECRET = "a-secret-that-must-be-found"


async def test_a_secret_in_a_log_an_argument_a_traceback_or_redis_is_found(
    redis_server: RedisServer, redis_client: Redis
) -> None:
    notes, monitor = Notes(), Monitor(redis_server.port)
    logger = logging.getLogger("tests.search")
    logger.addHandler(notes)
    for text, argument, error in (("%s", SECRET, None), ("failed %s", "", ValueError(SECRET))):
        notes.lines.clear()
        logger.error(text, argument, exc_info=error)
        assert leaks({SECRET}, {"the logs": lambda: "\n".join(notes.lines)})
    logger.removeHandler(notes)
    redis_client.set("key", SECRET)
    redis_client.delete("key")
    await until(lambda: leaks({SECRET}, {"Redis": monitor.seen.decode}))
    monitor.close()


def test_structlog_events_are_searched_too(nothing_leaks: None) -> None:
    with structlog.testing.capture_logs() as events:
        structlog.get_logger("tests").info("event", token=SECRET)
    assert leaks({SECRET}, {"the events": lambda: repr(events)})


LEAKS = {
    "the output": "print(secret)",
    "the logs": "logging.getLogger('any').warning('token %s', secret)",
    "the files": "tmp_path.joinpath('daemon.log').write_text('x' + secret[:30])",
    "the metrics": "Counter('some', 'help', ['token']).labels(secret)",
}


@pytest.mark.parametrize(("workers", "leaking"), [("0", False), ("2", True)])
def test_a_secret_of_one_test_is_found_wherever_another_left_it_and_fails_the_run(
    tmp_path: Path, workers: str, leaking: bool
) -> None:
    (tmp_path / "test_it.py").write_text(
        "import logging\n"
        "from prometheus_client import Counter\n"
        "from kit.secret_search import SEARCH\n"
        f"secret = '{SECRET}-and-long-enough'\n"
        f"def test_one(tmp_path):\n    {'; '.join(LEAKS.values()) if leaking else 'pass'}\n"
        "def test_two():\n    SEARCH.secrets.add(secret)\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "xdist", "-p", "kit.secret_search", "-n", workers]
    command += ["--dist", "loadfile" if int(workers) else "no", "--rootdir", str(tmp_path), str(tmp_path)]
    alone = {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environment = os.environ | alone
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert done.returncode == leaking, done.stdout
    found = {place for place in LEAKS if f"A secret stands in {place}" in done.stdout}
    assert found == (set(LEAKS) if leaking else set())
    assert SECRET not in done.stdout
