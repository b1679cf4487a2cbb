"""The other side: confirmed publishing to RabbitMQ.

Read ``publisher`` first, which is the port that the delivery uses. A ``session`` is one connection
of it, and ``channel`` settles each publish on that connection. Those three use all others:

- ``window``, ``frames``, ``tap``, ``incoming``, ``returns``: what is unconfirmed; the bytes that go
  out; confirms in the bytes that come; what else the broker says of publishes; what becomes of a
  returned message.
- ``renewal``, ``refusals``, ``liveness``: when a connection is replaced.
- ``trials``, ``limits``: a message on a channel of its own; how many channels there may be.
- ``topology``, ``topology_check``, ``topology_watch``: exchanges and queues; declaring or verifying
  them; when to do so.
- ``connection``, ``errors``, ``aiormq_adapter``: the libraries, and what they lack.
"""
