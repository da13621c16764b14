"""Microsoft's SDK and O365 sending the benchmarks' mails, when told to, in an environment of their own.

Each line of the input names a peer and a mail, parted by a tab; each line of the output is the seconds that
AT_ONCE sends took. Usage: python -m bench.send_peers GRAPH_URL
"""

import asyncio
import io
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from bench.send_mails import AT_ONCE, MAILS, TOKEN, Sample

Send = Callable[[Sample], Awaitable[None]]


def msgraph_sdk(url: str) -> Send:
    """Set up as its documentation does, with a token that is there already."""
    from kiota_abstractions.authentication import AuthenticationProvider
    from msgraph import GraphRequestAdapter, GraphServiceClient
    from msgraph.generated.models.body_type import BodyType
    from msgraph.generated.models.email_address import EmailAddress
    from msgraph.generated.models.file_attachment import FileAttachment
    from msgraph.generated.models.item_body import ItemBody
    from msgraph.generated.models.message import Message
    from msgraph.generated.models.recipient import Recipient
    from msgraph.generated.users.item.send_mail.send_mail_post_request_body import SendMailPostRequestBody

    class Token(AuthenticationProvider):  # type: ignore[misc]
        async def authenticate_request(self, request: Any, _: Any = None) -> None:
            request.headers.add("Authorization", f"Bearer {TOKEN}")

    adapter = GraphRequestAdapter(Token())
    adapter.base_url = url
    client = GraphServiceClient(request_adapter=adapter)

    async def send(mail: Sample) -> None:
        message = Message(
            subject=mail.subject,
            body=ItemBody(content_type=BodyType.Html, content=mail.html),
            to_recipients=[Recipient(email_address=EmailAddress(address=mail.to))],
            attachments=[
                FileAttachment(
                    odata_type="#microsoft.graph.fileAttachment",
                    name=file.name,
                    content_type=file.content_type,
                    content_bytes=file.content,
                    content_id=file.content_id or None,
                    is_inline=bool(file.content_id),
                )
                for file in mail.files
            ],
        )
        await client.me.send_mail.post(SendMailPostRequestBody(message=message, save_to_sent_items=True))

    return send


def o365(url: str) -> Send:
    """Send from threads, because it has no other way to send several at once, and without its delay."""
    from O365 import Message, MSGraphProtocol
    from O365.connection import Connection
    from O365.utils.token import MemoryTokenBackend

    parts = urlsplit(url)
    protocol = MSGraphProtocol()
    protocol.protocol_url = f"{parts.scheme}://{parts.netloc}/"
    protocol.service_url = f"{url}/"
    connection = Connection(("id", "secret"), token_backend=MemoryTokenBackend(), requests_delay=0)
    connection.session = connection.get_session()
    connection.update_session_auth_header(TOKEN)
    threads = ThreadPoolExecutor(AT_ONCE)

    def send(mail: Sample) -> None:
        message = Message(protocol=protocol, con=connection, main_resource="me")
        message.to.add(mail.to)
        message.subject = mail.subject
        message.body = mail.html
        for file in mail.files:
            message.attachments.add([(io.BytesIO(file.content), file.name)])
            if file.content_id:
                message.attachments[-1].is_inline = True
                message.attachments[-1].content_id = file.content_id
        if not message.send():
            raise RuntimeError("not sent")

    return lambda mail: asyncio.get_running_loop().run_in_executor(threads, send, mail)


PEERS: dict[str, Callable[[str], Send]] = {"msgraph-sdk": msgraph_sdk, "O365": o365}


async def serve(url: str, peers: dict[str, Callable[[str], Send]]) -> None:
    loop = asyncio.get_running_loop()
    ready: dict[str, Send] = {}
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        peer, mail = line.rstrip("\n").split("\t")
        try:
            if peer not in ready:
                ready[peer] = peers[peer](url)
            print(await at_once(ready[peer], MAILS[mail]), flush=True)
        except Exception as error:  # noqa: BLE001 (what a peer raises is its row)
            print(f"{type(error).__name__}: {error}".replace("\n", " "), flush=True)


async def at_once(send: Send, mail: Sample) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(send(mail) for _ in range(AT_ONCE)))
    return time.perf_counter() - began


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(serve(sys.argv[1], PEERS))
