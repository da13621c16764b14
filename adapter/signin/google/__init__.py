"""Sign-in with Google: people by OAuth, whole domains by a service account."""
