"""The consumers of docs/consumers, run as they are, with repeats and faults thrown at them."""
