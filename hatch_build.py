"""Builds the description for an index of packages, where a link within the repository would lead nowhere."""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_RELATIVE = re.compile(r'(\]\(|src=")(?!https?:|#)([^)"]+)')
_OTHER_THEME = re.compile(r'  <source media="[^"]*" srcset="[^"]*">\n')


class Description(MetadataHookInterface):
    """Points README's links and pictures at the released version in the repository."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the description."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        source = f"{metadata['urls']['Source']}/{{kind}}/v{metadata['version']}/"
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute(text, source)}


def absolute(text: str, source: str) -> str:
    """Return a page with each relative link below `source`; `{kind}` is `blob`, or `raw` for pictures."""

    def link(found: re.Match[str]) -> str:
        kind = "blob" if found[1] == "](" else "raw"
        return found[1] + source.format(kind=kind) + found[2]

    return _RELATIVE.sub(link, _OTHER_THEME.sub("", text))
