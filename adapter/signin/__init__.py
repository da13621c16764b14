"""Sign-in to a provider: tokens, their encryption, refresh and storage."""
