"""`python -m controller` is the `rollout` command."""

from controller.cli import main

main()
