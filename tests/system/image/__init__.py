"""The image, built and run without a container engine: ``make image-check``."""
