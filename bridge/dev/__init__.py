"""A private RabbitMQ, sample webhooks and a twin of SuperOffice: for tests, demos, benchmarks."""
