# syntax=docker/dockerfile:1
# The router (and, for trying it, the simulated worker: `--entrypoint python … -m router.simworker`).
#
#   docker build -t prefix-router .
#   docker run --rm -p 8080:8080 --read-only --tmpfs /tmp prefix-router serve --worker http://gpu-1:8000
#
# Pin the base for a release: docker buildx imagetools inspect python:3.12-slim-trixie, then
#   docker build --build-arg BASE=python:3.12-slim-trixie@sha256:… .
# The same bytes each time: SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) \
#   docker buildx build --build-arg BASE=…@sha256:… --output type=image,name=prefix-router,rewrite-timestamp=true .
ARG BASE=python:3.12-slim-trixie

FROM ${BASE} AS build
ARG SOURCE_DATE_EPOCH=1577836800
ENV SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONHASHSEED=0 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
# What changes least comes first: a change of the router's own code installs nothing anew.
COPY requirements.lock requirements-build.lock ./
RUN python -m venv --without-pip /app \
    && python -m pip --python /app install --require-hashes --no-deps --only-binary :all: --no-compile -r requirements.lock
RUN python -m venv /build \
    && python -m pip --python /build install --require-hashes --no-deps --only-binary :all: --no-compile -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY router router
RUN /build/bin/python -m pip wheel --no-deps --no-build-isolation --wheel-dir /dist . \
    && python -m pip --python /app install --no-deps --no-index --no-compile /dist/*.whl \
    && rm -f /app/lib/python*/site-packages/prefix_router-*.dist-info/direct_url.json
# Bytecode is trusted by what it is, not by its file's date: dates differ between builds, and nothing checks them at run time.
RUN find /app -name __pycache__ -prune -exec rm -rf {} + \
    && python -m compileall -q -j 1 --invalidation-mode unchecked-hash /app/lib
COPY deploy/healthcheck.py /app/healthcheck.py

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="prefix-router" \
      org.opencontainers.image.description="Prefix-aware, OpenAI-compatible request router for fleets of vLLM workers" \
      org.opencontainers.image.source="https://github.com/prefix-router/prefix-router" \
      org.opencontainers.image.documentation="https://github.com/prefix-router/prefix-router/blob/main/deploy/README.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /app /app
ENV PATH=/app/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1
# A number, so that Kubernetes' runAsNonRoot can tell. Nothing is written but /tmp, and that only by what Python asks of it.
USER 65532:65532
WORKDIR /tmp
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 CMD ["python", "-IS", "/app/healthcheck.py"]
ENTRYPOINT ["prefix-router"]
CMD ["serve"]
