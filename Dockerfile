# `make image` builds it, `make image-check` proves it without a container engine.
ARG BASE=python:3.13-slim

FROM ${BASE} AS build

# requirements/otel.lock for an image that can trace (docs/reference/tracing.md).
ARG LOCK=requirements/runtime.lock

# Without pip: the image runs what is in it and installs nothing.
RUN python -m venv --without-pip /usr/local/lib/bridge
WORKDIR /usr/src/superoffice-bridge

# The libraries first: this layer changes only with the lock file. They are compiled here, because
# the file system may be read-only later.
COPY ${LOCK} ./requirements.lock
RUN pip --python /usr/local/lib/bridge/bin/python install --no-cache-dir --only-binary :all: \
        --require-hashes --requirement requirements.lock

# The hot modules run compiled (docs/decisions/0033). The compiler has an environment of its own, and
# stays in this stage with it.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev
COPY requirements/compile.lock ./
RUN python -m venv --without-pip /usr/local/lib/compiler \
    && pip --python /usr/local/lib/compiler/bin/python install --no-cache-dir --only-binary :all: \
        --require-hashes --requirement compile.lock

# The build backend is in the lock file too. It is of no use at run time, so it goes again.
COPY pyproject.toml README.md LICENSE ./
COPY .ci/compile ./.ci/compile
COPY bridge ./bridge
RUN /usr/local/lib/compiler/bin/python .ci/compile /usr/local/lib/bridge/bin/python
RUN pip --python /usr/local/lib/bridge/bin/python install --no-cache-dir --no-deps --no-build-isolation --no-index . \
    && pip --python /usr/local/lib/bridge/bin/python uninstall --yes flit_core

FROM ${BASE}

ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="superoffice-bridge" \
      org.opencontainers.image.description="SuperOffice CRM webhooks in, confirmed CloudEvents on RabbitMQ topics out" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.13-slim"

# The bridge writes only to the spool: the rest of the file system may be read-only.
RUN groupadd --gid 10001 bridge \
    && useradd --uid 10001 --gid bridge --home-dir /var/lib/bridge --shell /usr/sbin/nologin bridge \
    && install --directory --owner bridge --group bridge --mode 0750 /var/lib/bridge

COPY --from=build /usr/local/lib/bridge /usr/local/lib/bridge

# Every command finds config/bridge.toml here: mount your own over it.
WORKDIR /app
COPY config/bridge.toml ./config/bridge.toml

ENV PATH=/usr/local/lib/bridge/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    BRIDGE_SERVER__ADMIN_HOST=0.0.0.0 \
    BRIDGE_SPOOL__PATH=/var/lib/bridge/spool.db

USER 10001:10001
VOLUME /var/lib/bridge
EXPOSE 8080 8081
STOPSIGNAL SIGTERM

# Checks that the bridge is alive, not that it is ready: a restart would not bring a broker back.
# A shorter interval would cost: each check starts a Python, which takes a second of CPU time.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s --retries=3 \
    CMD ["bridge", "health"]

# The bridge is process 1 itself, without tini or --init: it handles SIGTERM, and reaps the only
# process that it starts.
CMD ["bridge", "serve"]
