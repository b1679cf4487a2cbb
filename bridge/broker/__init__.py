"""The other side: one RabbitMQ, its connection, its channel, what it confirms and refuses."""
