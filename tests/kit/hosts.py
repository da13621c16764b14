"""Runs an example of docs/embedding.md with two workers, beside a real Redis, Prometheus and controller."""

import json
import operator
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kit.servers import PrometheusServer, RedisServer, free_port
from kit.waiting import wait_until
from prometheus_client.parser import text_string_to_metric_families
from worlds.live import FEATURES, SCRAPE_S, TICK_S, Daemon

from controller.contract import ACTION_EXEC_TOTAL, ROLLOUT_GATE_REVISION, ROLLOUT_GATE_TOTAL
from controller.rules.rule_files import rule_files
from controller.rules.scale import Scale
from controller.rules.yaml_text import yaml_text

PAGE = Path(__file__).parents[2] / "docs" / "embedding.md"


@dataclass(frozen=True)
class Example:
    """One section of the page: its files by name, and the command that starts the host."""

    files: Mapping[str, str]
    command: str


def example(title: str) -> Example:
    """Read a section of the page as a person does: each block of Python begins with the name of its file."""
    section = PAGE.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", section, flags=re.DOTALL)
    [command] = re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    return Example(dict(blocks), command)


def scrape_jobs() -> list[dict[str, Any]]:
    """Return the scrape jobs of the page."""
    [text] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    return list(yaml.safe_load(text)["scrape_configs"])


def two_ports() -> int:
    """Return the first of two free ports beside each other."""
    while True:
        first = free_port()
        if metrics_of(first + 1) is None:
            return first


def metrics_of(port: int) -> dict[str, float] | None:
    """Return what a worker exports of sends and gate, added up by name; nothing where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            families = text_string_to_metric_families(answer.read().decode())
    except OSError:
        return None
    wanted = (ACTION_EXEC_TOTAL, ROLLOUT_GATE_TOTAL, ROLLOUT_GATE_REVISION)
    found = dict.fromkeys(wanted, 0.0)
    for sample in (one for family in families for one in family.samples if one.name in wanted):
        found[sample.name] += sample.value
    return found


@dataclass
class Host:
    """A host with two workers, and what watches it."""

    folder: Path
    first: int
    web: int
    daemon: Daemon
    environment: Mapping[str, str]

    def sends(self) -> list[float]:
        """Return what each worker has sent."""
        return [(metrics_of(port) or {}).get(ACTION_EXEC_TOTAL, -1) for port in self._ports()]

    def asked(self) -> float:
        """Return how often the gates of both were asked."""
        return sum((metrics_of(port) or {}).get(ROLLOUT_GATE_TOTAL, -1) for port in self._ports())

    def post(self, user: int) -> int:
        """Send a mail for a user over HTTP; return the status."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.web}/send/user-{user}", data=b"", method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def post_all(self, count: int) -> list[int]:
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(self.post, range(count)))

    def records(self) -> list[dict[str, Any]]:
        """Return the decisions from the newest to the oldest."""
        url = f"{self.daemon.url}/api/v1/features/microsoft/decisions?limit=100"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return list(json.load(answer)["decisions"])

    def windows(self) -> list[float]:
        """Return the sends of each window that was judged."""
        read = [record["evidence"] for record in self.records() if record["evidence"]]
        return [one["sends"] for evidence in read for one in evidence["windows"]]

    def pause(self) -> None:
        """Pause over the API."""
        request = urllib.request.Request(
            f"{self.daemon.url}/api/v1/features/microsoft/pause",
            data=b'{"reason": "a test"}',
            method="POST",
            headers={"Authorization": "Bearer try-me", "Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=10).close()

    def revisions(self) -> list[float]:
        """Return the revision that each gate obeys."""
        return [(metrics_of(port) or {}).get(ROLLOUT_GATE_REVISION, -1) for port in self._ports()]

    def _ports(self) -> tuple[int, int]:
        return self.first, self.first + 1


@contextmanager
def sender_environment(redis_url: str) -> Iterator[dict[str, str]]:
    """Yield the environment of a sender of a local Graph, which runs meanwhile."""
    command = [sys.executable, "-m", "adapter.sandbox.graph", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as graph:
        assert graph.stdout is not None
        try:
            yield {
                **os.environ,
                "ROLLOUT_REDIS_URL": redis_url,
                "MS_GRAPH_URL": graph.stdout.readline().strip(),
                "PROVIDER_MICROSOFT_ENABLED": "true",
                "INTEGRATION_TESTS_ENABLED": "true",
                "MS_INTEGRATION_TOKEN": "sandbox-hosts",
            }
        finally:
            graph.terminate()


@contextmanager
def running(title: str, folder: Path, programs: Path, redis_server: RedisServer) -> Iterator[Host]:
    """Start all of it, with everybody in; `programs` is the folder that the host's commands are in."""
    first, web, chosen = two_ports(), free_port(), example(title)
    ports = {8000: web, 8021: first, 8022: first + 1, 6379: redis_server.port}

    def placed(text: str) -> str:
        return re.sub(r"\b(8000|8021|8022|6379)\b", lambda found: str(ports[int(found[0])]), text)

    for name, text in chosen.files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(placed(text), encoding="utf-8")
    with ExitStack() as stack:
        prometheus = stack.enter_context(PrometheusServer(folder, placed(_configuration(folder))))
        environment = stack.enter_context(sender_environment(redis_server.url))
        environment["PATH"] = f"{programs}:{environment['PATH']}"
        stack.enter_context(_started(placed(chosen.command), folder, environment))
        wait_until(lambda: metrics_of(first) and metrics_of(first + 1), 60, "two targets")
        daemon = Daemon(folder, "controller", redis_server.url, prometheus.url)
        stack.callback(daemon.close)
        daemon.start().wait_ready()
        yield Host(folder, first, web, daemon, environment)


def _configuration(folder: Path) -> str:
    """Write the rules, and return the page's scrape configuration on a scale of seconds."""
    (folder / "rules").mkdir()
    for file in rule_files(FEATURES.values(), Scale.of(TICK_S, TICK_S, SCRAPE_S)):
        (folder / "rules" / file.name).write_text(yaml_text(file), encoding="utf-8")
    [job] = scrape_jobs()
    scale = {"scrape_interval": f"{SCRAPE_S * 1000:g}ms", "evaluation_interval": f"{TICK_S:g}s"}
    jobs = [{**job, "scrape_interval": scale["scrape_interval"]}]
    return yaml.safe_dump({"global": scale, "rule_files": [f"{folder}/rules/*.yml"], "scrape_configs": jobs})


@contextmanager
def _started(command: str, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Run a command of a shell, with all that it starts, until the end."""
    with (
        (folder / "host.log").open("wb") as log,
        subprocess.Popen(
            ["bash", "-c", command],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def examine(host: Host, send_all: Callable[[int], object], mails: int = 60) -> None:
    """See that both workers are counted, each mail once and without a doubt, and that both obey a pause."""
    wait_until(host.windows, 30, "a judged window")
    send_all(mails)
    wait_until(lambda: sum(host.sends()) == mails, 60, "all mails sent")
    assert min(host.sends()) > 0, host.sends()
    wait_until(lambda: sum(host.windows()) == mails, 30, "each mail counted")
    reasons = [record["reason"] for record in host.records()]
    assert not [one for one in reasons[: len(host.windows())] if one.startswith(("metrics_", "gate_"))]
    before = host.revisions()
    host.pause()
    wait_until(lambda: all(map(operator.gt, host.revisions(), before)), 3, "a pause in each gate")
    send_all(4)
    wait_until(lambda: host.asked() == mails + 4, 30, "the answers to four more")
    assert sum(host.sends()) == mails
