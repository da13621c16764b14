"""The scale of time on which the rules run: production's by default, seconds for a demo."""

from dataclasses import dataclass

from controller.contract import evidence_delay_s, evidence_step_ms

DEFAULT_WINDOW_S = 30.0
_UNITS_MS = (("h", 3_600_000), ("m", 60_000), ("s", 1000))
_WORDS = (("hour", 3600), ("minute", 60))


@dataclass(frozen=True, slots=True)
class Scale:
    """The window of evidence, how often rules are evaluated, how often senders are scraped; seconds.

    Every other length is written at the default scale and stretched with the window, so that `5m` in a
    series' name means ten windows at any scale.
    """

    window_s: float = DEFAULT_WINDOW_S
    interval_s: float = DEFAULT_WINDOW_S
    scrape_s: float = DEFAULT_WINDOW_S / 3

    @classmethod
    def of(
        cls, window_s: float | None = None, interval_s: float | None = None, scrape_s: float | None = None
    ) -> "Scale":
        """Fill in what is not given; raises ValueError where rules could not run on these lengths."""
        window = window_s or interval_s or DEFAULT_WINDOW_S
        scale = cls(window, interval_s or window, scrape_s or round(window / 3, 3))
        if min(scale.window_s, scale.interval_s, scale.scrape_s) < 0.01:
            raise ValueError("a length of time is shorter than 0.01 s")
        evidence_step_ms(scale.window_s, scale.scrape_s)
        return scale

    def stretched_s(self, length_s: float) -> float:
        """Return a length that is written for the default window of 30 s at this scale."""
        return length_s * self.window_s / DEFAULT_WINDOW_S

    def range(self, length_s: float) -> str:
        """Return a length of time on this scale, as PromQL writes a range."""
        return duration(self.stretched_s(length_s))

    @property
    def look_back_s(self) -> float:
        """How old the sample before a scrape gap may be for the gap's sends to be counted."""
        return max(300.0, 10 * self.window_s)

    @property
    def step_s(self) -> float:
        """The step that evidence is sampled in, seconds."""
        return evidence_step_ms(self.window_s, self.scrape_s) / 1000

    @property
    def delay_s(self) -> float:
        """How long a window waits for its last scrape, seconds."""
        return evidence_delay_s(self.scrape_s)


def duration(length_s: float) -> str:
    """Write a length as Prometheus reads it, in the largest unit that divides it."""
    length_ms = round(length_s * 1000)
    for unit, size_ms in _UNITS_MS:
        if length_ms % size_ms == 0 and length_ms:
            return f"{length_ms // size_ms}{unit}"
    return f"{length_ms}ms"


def in_words(length_s: float) -> str:
    """Write a length as people say it: `5 minutes`, `1 hour`, `20 seconds`."""
    for word, size_s in _WORDS:
        if length_s >= size_s and length_s % size_s == 0:
            count = round(length_s / size_s)
            return f"{count} {word}{'s' if count > 1 else ''}"
    return f"{length_s:g} seconds"
