"""A real Redis Cluster for tests: three masters on free ports, and a replica of the one with our keys."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kit.redis_tls import RedisCertificates
from kit.servers import RedisServer, free_port
from kit.waiting import wait_until
from redis.crc import key_slot

TAG = "rollout"
SLOT = key_slot(f"{{{TAG}}}".encode())
_SLOTS = 16_384


@dataclass
class RedisCluster:
    """Its nodes. The first master serves the slot of TAG until a test changes that, and has the replica."""

    masters: list[RedisServer]
    replica: RedisServer

    @property
    def nodes(self) -> list[RedisServer]:
        return [*self.masters, self.replica]

    @property
    def url(self) -> str:
        return self.url_of(TAG)

    def url_of(self, tag: str, login: str = "") -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        if tls := self.replica.tls:
            return f"rediss+cluster://{login}{hosts}/{tag}{tls.query}"
        return f"redis+cluster://{login}{hosts}/{tag}"

    def keys(self) -> set[str]:
        """Return every key of the cluster."""
        return {key for node in self.masters for key in told(node, "KEYS", "*")}

    def promoted(self) -> bool:
        return bool(told(self.replica, "ROLE")[0] == "master")

    def move_slot(self, source: RedisServer, target: RedisServer) -> Iterator[None]:
        """Move the slot of TAG as `redis-cli --cluster reshard` does, stopping after each step."""
        there, here = name_of(target), name_of(source)
        told(target, "CLUSTER", "SETSLOT", SLOT, "IMPORTING", here)
        told(source, "CLUSTER", "SETSLOT", SLOT, "MIGRATING", there)
        yield
        while keys := told(source, "CLUSTER", "GETKEYSINSLOT", SLOT, 100):
            told(source, "MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            yield
        for node in (target, source, *self.masters):
            told(node, "CLUSTER", "SETSLOT", SLOT, "NODE", there)
        yield


def told(node: RedisServer, *command: Any) -> Any:
    """Say something to one node alone, and give its answer."""
    with node.client() as client:
        return client.execute_command(*command)


def name_of(node: RedisServer) -> str:
    return str(told(node, "CLUSTER", "MYID"))


@contextmanager
def running_cluster(folder: Path, tls: RedisCertificates | None = None) -> Iterator[RedisCluster]:
    """Run a cluster until the block ends; whole slots are served even while others are not."""
    with ExitStack() as stack:
        buses = [free_port() for _ in range(4)]
        nodes = [stack.enter_context(RedisServer(folder, *_options(bus), tls=tls)) for bus in buses]
        share = _SLOTS // 3 + 1
        first = SLOT // share
        for number, node in enumerate(nodes[:3]):
            part = (first + number) % 3
            told(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            slots = range(part * share, min((part + 1) * share, _SLOTS))
            told(node, "CLUSTER", "ADDSLOTS", *slots)
        for node, bus in zip(nodes[1:], buses[1:], strict=True):
            told(nodes[0], "CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        cluster = RedisCluster(nodes[:3], nodes[3])
        wait_until(lambda: all(_is_whole(node) for node in nodes), 30, "the cluster")
        told(cluster.replica, "CLUSTER", "REPLICATE", name_of(cluster.masters[0]))
        wait_until(lambda: _copies(cluster.replica), 30, "the replica's copy")
        wait_until(lambda: all(_knows_a_replica(node) for node in nodes), 30, "all to know the replica")
        yield cluster


def _options(bus: int) -> list[str]:
    options = {
        "cluster-enabled": "yes",
        "cluster-port": str(bus),
        "cluster-config-file": f"nodes-{bus}.conf",
        "cluster-node-timeout": "1000",
        "cluster-require-full-coverage": "no",
        "repl-diskless-sync-delay": "0",
    }
    return [word for name, text in options.items() for word in (f"--{name}", text)]


def _is_whole(node: RedisServer) -> bool:
    state = str(told(node, "CLUSTER", "INFO"))
    return "cluster_state:ok" in state and "cluster_known_nodes:4" in state


def _knows_a_replica(node: RedisServer) -> bool:
    return " slave " in str(told(node, "CLUSTER", "NODES")).replace("myself,slave", " slave ")


def _copies(replica: RedisServer) -> bool:
    role = told(replica, "ROLE")
    return bool(role[0] == "slave" and role[3] == "connected")
