"""A bare Debian 13 in a folder, and targets of the Makefile in it: ``make test-rabbitmq4``."""
