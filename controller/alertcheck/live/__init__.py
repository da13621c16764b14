"""The same proof on real servers."""
