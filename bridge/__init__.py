"""SuperOffice webhooks in, confirmed CloudEvents on RabbitMQ topics out."""

__version__ = "0.1.0"
