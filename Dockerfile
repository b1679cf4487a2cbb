FROM python:3.13-slim

RUN groupadd --gid 10001 bridge \
    && useradd --uid 10001 --gid bridge --home-dir /var/lib/bridge --shell /usr/sbin/nologin bridge \
    && install --directory --owner bridge --group bridge --mode 0750 /var/lib/bridge

WORKDIR /usr/src/superoffice-bridge

# The libraries first: this layer changes only with the lock file.
COPY requirements.lock ./
RUN pip install --no-cache-dir --only-binary :all: --require-hashes -r requirements.lock

COPY pyproject.toml README.md LICENSE ./
COPY bridge ./bridge
RUN pip install --no-cache-dir --no-deps --no-build-isolation --no-index .

# Every command finds config/bridge.toml here: mount your own over it.
WORKDIR /app
COPY config ./config

ENV PYTHONUNBUFFERED=1 \
    BRIDGE_SERVER__ADMIN_HOST=0.0.0.0 \
    BRIDGE_SPOOL__PATH=/var/lib/bridge/spool.db

USER 10001:10001
VOLUME /var/lib/bridge
EXPOSE 8080 8081
STOPSIGNAL SIGTERM

# Alive, not ready: a restart does not bring a broker back.
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 \
    CMD ["python", "-c", "import http.client, sys; c = http.client.HTTPConnection('127.0.0.1', 8081, timeout=3); c.request('GET', '/healthz'); sys.exit(c.getresponse().status != 200)"]

CMD ["bridge", "serve"]
