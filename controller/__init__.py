"""rollout-controller: rolls an email provider out a few percent at a time, and stops when its SLOs say so."""

__version__ = "0.1.0"
