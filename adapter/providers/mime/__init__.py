"""A mail as RFC 5322: written for every provider, and read again from any builder. Pure."""
