"""The messages that leave the bridge, complete but not yet on the wire."""
