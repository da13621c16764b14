"""What is rendered beside the rules: dashboards, runbooks, an example for Alertmanager."""
