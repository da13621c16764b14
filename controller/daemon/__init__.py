"""The process: start, schedule, signals, systemd, its own metrics."""
