"""Think: snapshots in, decisions out. Pure; no clock, no I/O."""
