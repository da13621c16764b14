"""Write: flags, state and decisions in Redis, by one script, and the lease that allows it."""
