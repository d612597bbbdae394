# An AO computer in a container: `docker build --tag aoray .`, and compose.yaml beside it with PostgreSQL and S3.
# What it depends on is what runtime.lock says, by hash; what builds the wheel stays behind.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /source
COPY runtime.lock ./
RUN python -m venv /opt/aoray && /opt/aoray/bin/pip install --no-cache-dir --require-hashes --requirement runtime.lock
RUN python -m venv /opt/build && /opt/build/bin/pip install --no-cache-dir setuptools==84.2.1
COPY pyproject.toml README.md LICENSE ./
COPY aoray aoray
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && /opt/aoray/bin/pip install --no-cache-dir --no-deps --no-index /wheels/*.whl

FROM python:3.11.14-slim-bookworm
RUN useradd --uid 10001 --create-home aoray && install --directory --owner aoray --mode 0700 /data
COPY --from=build /opt/aoray /opt/aoray
ENV PATH=/opt/aoray/bin:$PATH AORAY_DATA=/data AORAY_HOST=0.0.0.0 PYTHONUNBUFFERED=1
USER aoray
WORKDIR /home/aoray
VOLUME /data
EXPOSE 4000-4004
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:4000/health', timeout=4)"]
ENTRYPOINT ["aoray"]
CMD ["up"]
