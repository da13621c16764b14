"""A host's worker processes: each is a target with a gate of its own, however the host starts them."""

import pickle
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
import redis
from kit.hosts import sender_environment, two_ports
from kit.sending import open_flags
from kit.servers import RedisServer, free_port
from kit.waiting import wait_until
from prometheus_client.parser import text_string_to_metric_families

from adapter import ActionGatedError, SettingsError, run, serve_metrics
from controller.contract import ACTION_EXEC_TOTAL, ROLLOUT_GATE_PERCENT, revision_key

WORKER = """
import asyncio, logging, os, sys
from adapter import EmailAddress, outlook_send, run, serve_metrics
logging.getLogger("rollout.metrics").addHandler(logging.StreamHandler(sys.stdout))

def mail():
    return outlook_send([EmailAddress("bob@corp.example")], "Hi", body_html="<p>Hi</p>", user_id="u1")

serve_metrics(int(sys.argv[1]), int(sys.argv[2]))
serve_metrics(int(sys.argv[1]), int(sys.argv[2]))
print("serves", flush=True)
for word in sys.stdin:
    if word == "send\\n":
        run(mail())
    elif word == "loop\\n":
        asyncio.run(mail())
    elif word == "fork\\n" and os.fork() == 0:
        run(mail())
        sys.stdin.readline()
        os._exit(0)
    print("done", flush=True)
"""


class Worker:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def heard(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def do(self, word: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        assert self.heard() == "done"


@contextmanager
def worker(environment: dict[str, str], first: int, processes: int) -> Iterator[Worker]:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(first), str(processes)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield Worker(process)
        finally:
            process.kill()


@pytest.fixture
def environment(redis_server: RedisServer, redis_client: redis.Redis) -> Iterator[dict[str, str]]:
    """Yield the environment of a sender whom everybody may send through, with a local Graph."""
    open_flags(redis_client)
    redis_client.set(revision_key("microsoft"), 1)
    with sender_environment(redis_server.url) as environment:
        yield environment


def sample(port: int, name: str, **labels: str) -> float:
    """Return a metric of the process behind a port; -1 while none is there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    except OSError:
        return -1
    found = [one for family in text_string_to_metric_families(text) for one in family.samples]
    return next(one.value for one in found if one.name == name and labels.items() <= one.labels.items())


def sent(port: int) -> float:
    return sample(port, ACTION_EXEC_TOTAL, status="ok")


def test_each_worker_takes_a_port_of_its_own_and_its_successor_the_same(environment: dict[str, str]) -> None:
    first = two_ports()
    with ExitStack() as stack:
        one, two, late = (stack.enter_context(worker(environment, first, 2)) for _ in range(3))
        heard = [one.heard(), two.heard(), late.heard()]
        two_serve = [said for said in heard if said == "serves"]
        [waits] = [said for said in heard if said != "serves"]
        assert len(two_serve) == 2
        assert "is not measured: all 2 ports" in waits
        assert sent(first) == sent(first + 1) == 0
        assert sample(first, ROLLOUT_GATE_PERCENT, feature="microsoft") == 100
        serving = [one, two, late][heard.index("serves")]
        serving.process.kill()
        serving.process.wait(5)
        wait_until(lambda: sent(first) == sent(first + 1) == 0, 20, "the successor")


def test_a_process_that_was_forked_from_a_sender_is_a_target_of_its_own_and_begins_at_zero(
    environment: dict[str, str],
) -> None:
    first = two_ports()
    with worker(environment, first, 2) as parent:
        assert parent.heard() == "serves"
        parent.do("send")
        parent.do("send")
        parent.do("fork")
        wait_until(lambda: sent(first + 1) == 1, 20, "the child's own count")
        assert sent(first) == 2
        parent.do("send")
        assert (sent(first), sent(first + 1)) == (3, 1)


def test_a_loop_for_each_mail_leaves_the_process_its_gate(environment: dict[str, str]) -> None:
    first = free_port()
    with worker(environment, first, 1) as one:
        assert one.heard() == "serves"
        for _ in range(3):
            one.do("loop")
        assert sent(first) == 3
        assert sample(first, ROLLOUT_GATE_PERCENT, feature="microsoft") == 100


def test_counts_that_all_processes_share_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "/tmp/shared")  # noqa: S108 (never opened)
    with pytest.raises(SettingsError, match="PROMETHEUS_MULTIPROC_DIR mixes the counts"):
        serve_metrics(8021, processes=2)


@pytest.mark.parametrize(("port_base", "processes"), [(0, 1), (65_535, 2), (8021, 0)])
def test_ports_that_do_not_exist_are_refused(port_base: int, processes: int) -> None:
    with pytest.raises(SettingsError, match="there are no"):
        serve_metrics(port_base, processes)


def test_an_error_of_a_send_can_go_to_another_process() -> None:
    error = ActionGatedError("The feature is paused.", reason="paused", provider="microsoft")
    there = pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
    assert type(there) is ActionGatedError
    assert (str(there), vars(there)) == (str(error), vars(error))


def test_an_address_that_is_not_here_is_refused_each_time(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROLLOUT_REDIS_URL", environment["ROLLOUT_REDIS_URL"])
    for _ in range(2):
        with pytest.raises(SettingsError, match=r"no metrics on 192\.0\.2\.1"):
            serve_metrics(8021, host="192.0.2.1")


async def _twice(number: int) -> int:
    return 2 * number


async def _fails() -> None:
    raise LookupError("as it was raised")


def test_a_program_without_a_loop_gets_results_and_errors_as_they_are() -> None:
    assert [run(_twice(number)) for number in range(3)] == [0, 2, 4]
    with pytest.raises(LookupError, match="as it was raised"):
        run(_fails())


async def test_where_a_loop_runs_run_says_to_await() -> None:
    with pytest.raises(RuntimeError, match="await it instead"):
        run(_twice(1))
