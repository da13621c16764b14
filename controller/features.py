"""The features that are rolled out: the built-in ones, and those of a TOML file, each checked."""

from controller.decision.model import RolloutFeature

__all__ = ["ROLLOUT_FEATURES", "RolloutFeature"]

ROLLOUT_FEATURES: dict[str, RolloutFeature] = {
    "google": RolloutFeature(name="google", provider="google", action="gmail.send"),
    "microsoft": RolloutFeature(name="microsoft", provider="microsoft", action="outlook.send"),
}
