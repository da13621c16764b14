"""An Alertmanager configuration for these alerts: pages for critical ones, one notice per feature."""

from dataclasses import dataclass

from controller.rules.scale import duration

EXAMPLE_NAME = "alertmanager-example.yml"


@dataclass(frozen=True, slots=True)
class NoticeTiming:
    """Where notices go, and how long Alertmanager gathers before it sends one."""

    page_url: str = "http://127.0.0.1:9095/page"
    ticket_url: str = "http://127.0.0.1:9095/ticket"
    wait_s: float = 30.0
    interval_s: float = 300.0
    repeat_s: float = 14_400.0
    mute_warnings: bool = True
    """Whether a critical alert of a feature silences its warnings."""


def alertmanager_text(notices: NoticeTiming) -> str:
    """Return an example of an Alertmanager configuration."""
    mute = _MUTE if notices.mute_warnings else ""
    return f"""\
# Example of an Alertmanager configuration for the alerts beside it; put your own receivers in.
# Rendered by `rollout rules render`; copy it before you change it.
# An alert's runbook_url is a path in this project: have your receiver's template put an address before it:
# https://git.example.com/rollout-controller/blob/main/{{{{ .Annotations.runbook_url }}}}
route:
  receiver: tickets
  # All alerts about one feature's sends arrive as one notice, those about its rollout as another.
  group_by: [service, component, provider, action, feature]
  group_wait: {duration(notices.wait_s)}
  group_interval: {duration(notices.interval_s)}
  repeat_interval: {duration(notices.repeat_s)}
  routes:
    - matchers: [severity="critical"]
      receiver: pager
    # Features that are paused together arrive as one notice.
    - matchers: [alertname="RolloutPaused"]
      group_by: [service, component, alertname]
receivers:
  - name: pager
    webhook_configs:
      - url: {notices.page_url}
        send_resolved: true
  - name: tickets
    webhook_configs:
      - url: {notices.ticket_url}
        send_resolved: true
{mute}"""


_MUTE = """\
inhibit_rules:
  # While a critical alert of a feature fires, its warnings say nothing new.
  - source_matchers: [severity="critical", component!="rollout"]
    target_matchers: [severity="warning", component!="rollout"]
    equal: [provider, action]
  # Without any sender, each single one need not be told.
  - source_matchers: [alertname="RolloutNoSenders"]
    target_matchers: [alertname="RolloutSenderDown"]
"""
