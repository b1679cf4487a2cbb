"""Programs that measure the bridge under load; none of them is part of the service."""
