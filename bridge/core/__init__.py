"""What the bridge decides without touching the world: no I/O, no clock, no environment."""
