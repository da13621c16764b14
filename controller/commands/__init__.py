"""One file per command of `rollout`."""
