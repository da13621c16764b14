"""The Prometheus rules: the one place where PromQL is written, and what checks it."""
