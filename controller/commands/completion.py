"""`rollout completion`: what a shell needs to complete commands and options."""

import click
from click.shell_completion import get_completion_class

from controller.shared.console import examples, say

SHELLS = ("bash", "zsh", "fish")


@click.command(
    epilog=examples(
        'eval "$(rollout completion bash)"',
        "rollout completion fish > ~/.config/fish/completions/rollout.fish",
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion of a shell, to be read at its start."""
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"{shell} is not known to this version of click")
    root = click.get_current_context().find_root().command
    say(kind(root, {}, "rollout", "_ROLLOUT_COMPLETE").source())
