"""A configuration for Prometheus: where the rules are, and which targets it scrapes."""

import json
from collections.abc import Sequence

from controller.rules.scale import Scale, duration
from controller.rules.scope import Scope

CONTROLLER_JOB = "rollout-controller"

_CONFIG = """\
# For a Prometheus that runs in this folder; one of yours takes over rule_files and scrape_configs.
global: {{scrape_interval: {scrape}, scrape_timeout: {scrape}, evaluation_interval: {interval}}}
rule_files: ["rules/*.yml"]
scrape_configs:
"""
_JOB = """\
  - job_name: {job}
    static_configs: [{{targets: {targets}, labels: {labels}}}]
"""


def prometheus_config(scope: Scope, scale: Scale, senders: Sequence[str], controller: str) -> str:
    """Return the configuration for these `HOST:PORT`; a controller that is no sender has a job of its own."""
    labels = json.dumps(dict(scope.labels))
    jobs = {scope.job: senders} | ({} if controller in senders else {CONTROLLER_JOB: [controller]})
    listed = (_JOB.format(job=job, targets=json.dumps(list(at)), labels=labels) for job, at in jobs.items())
    lengths = {"scrape": duration(scale.scrape_s), "interval": duration(scale.interval_s)}
    return _CONFIG.format(**lengths) + "".join(listed)
