"""A private RabbitMQ and sample webhooks, for tests, demos and benchmarks."""
