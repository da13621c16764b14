"""Where the commands' log goes: to stderr, because stdout carries the answer, which may be JSON."""

import sys

import structlog


def log_to_stderr() -> None:
    """Send structlog's lines to stderr, unless the process has decided otherwise."""
    if not structlog.is_configured():
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
