"""Google's own client sending the benchmarks' mails, when told to, in an environment of its own.

Usage: python -m bench.gmail_peers GMAIL_URL   (input and output as of send_peers)
"""

import asyncio
import base64
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from threading import local

from bench.send_mails import AT_ONCE, TOKEN, Sample
from bench.send_peers import Send, serve


def google_api_python_client(url: str) -> Send:
    """Send from threads, each with a connection of its own, as its documentation says (`raw` in JSON)."""
    from google.oauth2.credentials import Credentials
    from google_auth_httplib2 import AuthorizedHttp
    from googleapiclient.discovery import build
    from httplib2 import Http

    own = local()
    threads = ThreadPoolExecutor(AT_ONCE)

    def send(mail: Sample) -> None:
        if not hasattr(own, "service"):
            http = AuthorizedHttp(Credentials(TOKEN), http=Http())
            own.service = build(
                "gmail", "v1", http=http, static_discovery=True, client_options={"api_endpoint": url}
            )
        raw = base64.urlsafe_b64encode(mime_of(mail)).decode()
        own.service.users().messages().send(userId="me", body={"raw": raw}).execute()

    return lambda mail: asyncio.get_running_loop().run_in_executor(threads, send, mail)


def mime_of(mail: Sample) -> bytes:
    """Build the mail with the standard library, as its guide does."""
    message = EmailMessage()
    message["To"], message["Subject"] = mail.to, mail.subject
    message.set_content(mail.html, subtype="html")
    for file in mail.files:
        maintype, subtype = file.content_type.split("/")
        cid = f"<{file.content_id}>" if file.content_id else None
        message.add_attachment(file.content, maintype=maintype, subtype=subtype, filename=file.name, cid=cid)
    return message.as_bytes()


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    asyncio.run(serve(sys.argv[1], {"google-api-python-client": google_api_python_client}))
