"""The runbooks of every alert, so that a link in a notice leads to one wherever the daemon is reached."""

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from controller.rules.artifacts.runbooks import runbook_texts
from controller.rules.text import RUNBOOKS
from controller.shared.openapi import TEXT, Operation, ResponseSpec
from controller.shared.shipped import shipped
from controller.web.context import ServerContext
from controller.web.problems import ProblemError


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
        return PlainTextResponse(text)

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
