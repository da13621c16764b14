"""One real mail through Graph, only when asked for; the same test always runs against the sandbox.

With INTEGRATION_TESTS_ENABLED=true, MS_INTEGRATION_TOKEN and INTEGRATION_RECIPIENT, the mail goes to
that address, which must lie in INTERNAL_DOMAINS.
"""

import os

import redis
from kit.sending import open_flags
from kit.servers import RedisServer

from adapter import EmailAddress, InlineImage, Runtime, Settings, outlook_send
from adapter.sandbox.graph import Sandbox

PIXEL = bytes.fromhex(
    "47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b"
)
"""A GIF of one pixel."""


def target(graph: Sandbox) -> tuple[dict[str, str], str]:
    """Return the environment and the recipient: the real Graph when all is configured, else the sandbox."""
    names = ("MS_INTEGRATION_TOKEN", "INTEGRATION_RECIPIENT", "INTERNAL_DOMAINS")
    given = {name: os.environ.get(name, "") for name in names}
    if os.environ.get("INTEGRATION_TESTS_ENABLED") == "true" and all(given.values()):
        return {name: given[name] for name in names if name != "INTEGRATION_RECIPIENT"}, given[
            "INTEGRATION_RECIPIENT"
        ]
    sandbox = {"MS_GRAPH_URL": graph.url, "MS_INTEGRATION_TOKEN": "sandbox-integration"}
    return {**sandbox, "INTERNAL_DOMAINS": "internal.com"}, "test@internal.com"


async def test_outlook_send_happy_path(
    redis_server: RedisServer, redis_client: redis.Redis, graph: Sandbox
) -> None:
    """The gate is internal-only, so that not even a wrong setting sends to anybody else."""
    open_flags(redis_client, internal_only="true")
    environment, recipient = target(graph)
    settings = Settings.from_environment(
        {
            **environment,
            "ROLLOUT_REDIS_URL": redis_server.url,
            "PROVIDER_MICROSOFT_ENABLED": "true",
            "INTEGRATION_TESTS_ENABLED": "true",
        }
    )
    async with Runtime.open(settings) as runtime:
        result = await outlook_send(
            to=[EmailAddress(recipient)],
            subject="Integration test",
            body_html='<p>Test email</p><img src="cid:pixel">',
            body_text="Test email",
            inline_images=[InlineImage("pixel.gif", "image/gif", PIXEL, "pixel")],
            user_id="test_user",
            runtime=runtime,
        )
    assert result.success
    assert result.message_id
    assert result.request_id
