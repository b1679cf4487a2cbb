"""The manifests in config/kubernetes; rendered and validated: ``make kubernetes-check``."""
