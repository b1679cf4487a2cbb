"""What touches the spool's database to write, and the process of its own in which it runs.

Only the standard library is imported here, and little of it: the process is to start in some
hundredths of a second, and to take a dozen MiB.
"""
