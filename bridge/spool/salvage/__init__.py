"""What can be read of a damaged SQLite database, without SQLite."""
