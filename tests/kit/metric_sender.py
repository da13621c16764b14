"""A sender as a process of its own, for tests that kill or stop it: `metric_sender.py PORT` counts sends."""

import sys
import time

from prometheus_client import Counter, Histogram, start_http_server

from controller.contract import (
    ACTION_ERROR_TOTAL,
    ACTION_EXEC_TOTAL,
    ACTION_LATENCY_SECONDS,
    METRIC_LABELS,
    STATUSES,
    latency_edges_s,
)

LABELS = {"provider": "microsoft", "action": "outlook.send"}


def main(port: int) -> None:
    sends = Counter(ACTION_EXEC_TOTAL, "-", METRIC_LABELS[ACTION_EXEC_TOTAL])
    errors = Counter(ACTION_ERROR_TOTAL, "-", METRIC_LABELS[ACTION_ERROR_TOTAL])
    latency = Histogram(
        ACTION_LATENCY_SECONDS, "-", METRIC_LABELS[ACTION_LATENCY_SECONDS], buckets=latency_edges_s()
    )
    errors.labels(**LABELS)
    for status in STATUSES:
        sends.labels(**LABELS, status=status)
        latency.labels(**LABELS, status=status)
    start_http_server(port, "127.0.0.1")
    while True:
        sends.labels(**LABELS, status="ok").inc()
        latency.labels(**LABELS, status="ok").observe(0.02)
        time.sleep(0.02)


if __name__ == "__main__":
    main(int(sys.argv[1]))
