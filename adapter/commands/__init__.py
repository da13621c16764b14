"""The commands of `rollout` that the adapter brings."""
