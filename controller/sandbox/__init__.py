"""Real servers on loopback, for the demo and for live validation of alerts."""
