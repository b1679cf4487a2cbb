"""The promise: what was answered 200 arrives, in the order of its record."""
