"""``make docs``: write anew what the pages have from the code."""

from tests.project.docs import config

config.write()
