"""The whole loop on one machine: real servers, real senders, a story with a fault in it."""
