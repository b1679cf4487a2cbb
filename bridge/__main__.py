"""``python -m bridge`` is the command ``bridge``."""

from bridge.cli.app import main

if __name__ == "__main__":
    main()
