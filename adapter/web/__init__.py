"""The adapter over HTTP: sending, signing in, and their OpenAPI."""
