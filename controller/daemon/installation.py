"""Whether this installation is sound: `controller` and `adapter` are common names, and must be ours."""

from importlib.metadata import packages_distributions

DISTRIBUTION = "rollout-controller"
IMPORT_NAMES = ("controller", "adapter")


def foreign_claims() -> list[str]:
    """Name the other distributions that install one of our import names, as "name (distribution)"."""
    owners = packages_distributions()
    return sorted(
        f"{name} ({owner})" for name in IMPORT_NAMES for owner in {*owners.get(name, ())} - {DISTRIBUTION}
    )
