"""What every room may use, the adapter too: Redis connections, console output, log helpers."""
