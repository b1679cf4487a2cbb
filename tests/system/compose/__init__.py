"""docker-compose.yml and what it mounts."""
