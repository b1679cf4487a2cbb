"""One module for each command of ``bridge``."""
