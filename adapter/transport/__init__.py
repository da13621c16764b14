"""HTTP to a provider: one client, its connections, deadlines and retries."""
