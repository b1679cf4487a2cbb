"""What can be read of a damaged SQLite database, without SQLite.

``copying`` makes a new database of it. It gets the rows from ``pages``, which reads the database
file with ``cells`` and the write-ahead log with ``wal``, ``walframes`` and ``bitflips``. At a start
``walcheck`` says whether the log is damaged, and ``walindex`` how much of it SQLite accepts.

The numbers of sections in the comments are those of https://www.sqlite.org/fileformat.html.
"""
