"""One provider is one file: message to request, reply to result or error. Pure."""
