"""What a provider answers, and what must follow from it."""

from dataclasses import dataclass, field

from adapter.sandbox.faults import Faults


@dataclass(frozen=True)
class Case:
    """One answer and what must follow from it; `source` is empty where the mail was taken."""

    name: str
    faults: Faults
    posts: int
    code: str = ""
    source: str = ""
    environment: dict[str, str] = field(default_factory=dict)
