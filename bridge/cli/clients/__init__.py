"""What commands talk to: a consumer of RabbitMQ, a poster of webhooks, a pipeline of their own."""
