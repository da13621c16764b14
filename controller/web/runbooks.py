"""The runbooks of every alert, so that a link in a notice leads to one wherever the daemon is reached."""

import re

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from controller.config.command_line import rollout_line
from controller.decision.byhand import BY_HAND
from controller.rules.artifacts.runbooks import runbook_texts
from controller.rules.yaml_text import RUNBOOKS
from controller.shared.openapi import TEXT, Operation, ResponseSpec
from controller.shared.shipped import shipped
from controller.web.context import ServerContext
from controller.web.problems import ProblemError

_ASKS_REDIS = ("status", "history", "explain", "decide", "plan", "doctor", *BY_HAND)
_COMMAND = re.compile(rf"^( *)rollout ((?:{'|'.join(_ASKS_REDIS)})\b.*)$", re.MULTILINE)
"""A line of a shell that asks or changes Redis."""


class Runbooks:
    """Serves those that come with the program and those that are rendered for each feature."""

    def __init__(self, context: ServerContext) -> None:
        self._context = context

    async def read(self, request: Request) -> Response:
        """Return one runbook as text, by its file's name with or without `.md`."""
        name = f"{request.path_params['name'].removesuffix('.md')}.md"
        text = self._rendered().get(name) or self._shipped(name)
        if not text:
            raise ProblemError(404, f"there is no runbook {name}; README.md lists them all")
        return PlainTextResponse(self._for_this_redis(text))

    def _for_this_redis(self, text: str) -> str:
        """Write each command so that it meets the Redis that this daemon uses."""
        settings = self._context.settings()
        return _COMMAND.sub(lambda found: f"{found[1]}{rollout_line(settings, found[2])}", text)

    def _rendered(self) -> dict[str, str]:
        return runbook_texts(list(self._context.features.values()))

    def _shipped(self, name: str) -> str:
        """Return a file of the folder, of which only names that are there lead anywhere."""
        files = {path.name: path for path in shipped(RUNBOOKS).glob("*.md")}
        return files[name].read_text(encoding="utf-8") if name in files else ""

    @property
    def operations(self) -> list[Operation]:
        """Return the one route."""
        return [
            Operation(
                "GET",
                f"/{RUNBOOKS}/{{name}}",
                self.read,
                "The runbook of an alert, as Markdown.",
                "health",
                {200: ResponseSpec("the runbook", TEXT, "text/plain")},
                problems={404: "no such runbook"},
            )
        ]
