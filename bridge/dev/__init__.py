"""For tests, demos and benchmarks: a private RabbitMQ, sample events, signing, fakes."""
