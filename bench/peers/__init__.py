"""What the bridge is compared with; each is a program of its own."""
