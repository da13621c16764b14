"""The HTTP face of the adapter: sending, signing in, and their OpenAPI."""
