"""What the daemon shows over HTTP: page, API, events, OFREP, health."""
