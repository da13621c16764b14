"""The gate and its peers, each set up to let half of the users in, offline and without their reporting."""

import http.server
import json
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from adapter.gate.rollout_gate import RolloutGate
from adapter.gate.rule import answer
from controller.contract import flag_keys, parse_flags
from controller.shared.redis_pool import open_redis

Ask = Callable[[str], object]
"""Decides for one user id; true is in."""


def ours(url: str, _: Path) -> Ask:
    return partial(RolloutGate.start(url).check, "microsoft")


def unleash(_: str, folder: Path) -> Ask:
    from UnleashClient import UnleashClient
    from UnleashClient.cache import FileCache

    parameters = {"rollout": "50", "stickiness": "userId", "groupId": "microsoft"}
    strategy = {"name": "flexibleRollout", "parameters": parameters}
    cache = FileCache("bench", directory=str(folder))
    cache.bootstrap_from_dict(
        {"version": 2, "features": [{"name": "microsoft", "enabled": True, "strategies": [strategy]}]}
    )
    client = UnleashClient(
        "http://127.0.0.1:9", "bench", cache=cache, disable_registration=True, disable_metrics=True
    )
    client.initialize_client(fetch_toggles=False)
    return lambda user: client.is_enabled("microsoft", {"userId": user})


GROWTHBOOK_RULE = {"force": True, "coverage": 0.5, "hashAttribute": "id"}


def growthbook(_: str, __: Path) -> Ask:
    from growthbook import GrowthBook

    features = {"microsoft": {"defaultValue": False, "rules": [GROWTHBOOK_RULE]}}
    return lambda user: GrowthBook(attributes={"id": user}, features=features).is_on("microsoft")


def growthbook_function(_: str, __: Path) -> Ask:
    """Use its evaluation function alone, below the classes that its documentation names."""
    from growthbook.common_types import (
        EvaluationContext,
        Feature,
        GlobalContext,
        Options,
        StackContext,
        UserContext,
    )
    from growthbook.core import eval_feature

    everywhere = GlobalContext(
        options=Options(), features={"microsoft": Feature(defaultValue=False, rules=[GROWTHBOOK_RULE])}
    )

    def ask(user: str) -> object:
        context = EvaluationContext(
            global_ctx=everywhere,
            user=UserContext(attributes={"id": user}),
            stack=StackContext(evaluated_features=set()),
        )
        return eval_feature("microsoft", context).on

    return ask


def openfeature(_: str, __: Path) -> Ask:
    """Use a fixed variant: this provider has no percentages, so it decides nothing."""
    from openfeature import api
    from openfeature.evaluation_context import EvaluationContext
    from openfeature.provider.in_memory_provider import InMemoryFlag, InMemoryProvider

    api.set_provider(InMemoryProvider({"microsoft": InMemoryFlag("on", {"on": True, "off": False})}))
    client = api.get_client()
    return lambda user: client.get_boolean_value("microsoft", False, EvaluationContext(user))


def launchdarkly(_: str, folder: Path) -> Ask:
    from ldclient import Context, LDClient
    from ldclient.config import Config
    from ldclient.integrations import Files

    variations = [{"variation": 0, "weight": 50_000}, {"variation": 1, "weight": 50_000}]
    flag = {
        "key": "microsoft",
        "version": 1,
        "on": True,
        "salt": "salt",
        "variations": [True, False],
        "offVariation": 1,
        "fallthrough": {"rollout": {"variations": variations}},
    }
    path = folder / "launchdarkly.json"
    path.write_text(json.dumps({"flags": {"microsoft": flag}}))
    source = Files.new_data_source(paths=[str(path)])
    client = LDClient(Config("key", update_processor_class=source, send_events=False))
    return lambda user: client.variation("microsoft", Context.create(user), False)


def flagd(_: str, folder: Path) -> Ask:
    from openfeature import api
    from openfeature.contrib.provider.flagd import FlagdProvider
    from openfeature.contrib.provider.flagd.config import ResolverType
    from openfeature.evaluation_context import EvaluationContext

    flag = {
        "state": "ENABLED",
        "variants": {"on": True, "off": False},
        "defaultVariant": "off",
        "targeting": {"fractional": [["on", 50], ["off", 50]]},
    }
    path = folder / "flagd.json"
    path.write_text(json.dumps({"flags": {"microsoft": flag}}))
    api.set_provider(
        FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(path)), "flagd"
    )
    client = api.get_client("flagd")
    time.sleep(1)  # it reads its file in a thread
    return lambda user: client.get_boolean_value("microsoft", False, EvaluationContext(user))


FLIPT_ROLLOUT = {
    "type": "THRESHOLD_ROLLOUT_TYPE",
    "rank": 1,
    "threshold": {"percentage": 50.0, "value": True},
}


class FliptSnapshot(http.server.BaseHTTPRequestHandler):
    """Answers what a Flipt server answers when its client asks for all flags."""

    def do_GET(self) -> None:
        flag = {"key": "microsoft", "name": "microsoft", "type": "BOOLEAN_FLAG_TYPE", "enabled": False}
        flags = [{**flag, "rollouts": [FLIPT_ROLLOUT]}]
        body = json.dumps({"namespace": {"key": "default"}, "flags": flags}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def flipt(_: str, __: Path) -> Ask:
    from flipt_client import FliptClient
    from flipt_client.models import ClientOptions

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), FliptSnapshot)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    client = FliptClient(ClientOptions(url=f"http://127.0.0.1:{server.server_port}", update_interval=3600))
    return lambda user: client.evaluate_boolean("microsoft", user, {}).enabled


def redis_mget(url: str, _: Path) -> Ask:
    """Ask Redis for the four flags each time, and decide as our gate does."""
    client, keys = open_redis(url, 1.0, decode=False), flag_keys("microsoft")

    def ask(user: str) -> object:
        texts = tuple(value.decode() if isinstance(value, bytes) else None for value in client.mget(keys))
        return answer(parse_flags(texts), "microsoft", user)

    return ask


PEERS: dict[str, Callable[[str, Path], Ask]] = {
    "GrowthBook": growthbook,
    "GrowthBook, its evaluation function alone": growthbook_function,
    "OpenFeature, in-memory provider": openfeature,
    "LaunchDarkly, file data": launchdarkly,
    "Flipt, client-side": flipt,
    "flagd, in-process": flagd,
    "Unleash": unleash,
    "one Redis MGET per decision": redis_mget,
}
