"""Each example of docs/embedding.md, run as it is there with two workers."""

import subprocess
from pathlib import Path

import pytest
import redis
from kit.hosts import Host, examine, running
from kit.sending import open_flags
from kit.servers import RedisServer

from controller.contract import revision_key

ENQUEUE = "import sys, tasks; [tasks.send.delay(f'user-{i}', f'order-{i}') for i in map(int, sys.argv[1:])]"


@pytest.fixture(autouse=True)
def everybody_is_in(redis_client: redis.Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    open_flags(redis_client)
    redis_client.set(revision_key("microsoft"), 1)
    monkeypatch.setenv("ROLLOUT_API_TOKEN", "ann:try-me")


@pytest.mark.parametrize("title", ["gunicorn", "Django", "FastAPI"])
def test_workers_of_a_web_server_are_two_targets_and_two_gates(
    title: str, tmp_path: Path, programs: Path, redis_server: RedisServer
) -> None:
    if title == "Django":
        start_project(tmp_path, programs)
    with running(title, tmp_path, programs, redis_server) as host:
        examine(host, host.post_all)


def start_project(folder: Path, programs: Path) -> None:
    """Make the project that the page takes for granted, without its guard against forged forms."""
    subprocess.run([str(programs / "django-admin"), "startproject", "shop", "."], cwd=folder, check=True)
    with (folder / "shop" / "settings.py").open("a", encoding="utf-8") as settings:
        settings.write("MIDDLEWARE = []\n")


def test_workers_of_celery_are_two_targets_and_two_gates(
    tmp_path: Path, programs: Path, redis_server: RedisServer
) -> None:
    with running("Celery", tmp_path, programs, redis_server) as host:
        examine(host, lambda count: enqueue(host, count, programs))


def enqueue(host: Host, count: int, programs: Path) -> None:
    """Hand out as many tasks, with keys that no earlier ones had."""
    orders = [str(1000 * count + number) for number in range(count)]
    command = [str(programs / "python"), "-c", ENQUEUE, *orders]
    subprocess.run(command, cwd=host.folder, env=host.environment, check=True)
