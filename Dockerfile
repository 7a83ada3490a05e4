# The service as an image: one binary, nothing else. Defaults, profiles, migrations and Lua scripts are in the binary.
#
#   docker build --build-arg REVISION="$(git rev-parse HEAD)" --build-arg SOURCE=https://… --tag flash-sale:local .
#
# Images are named by version. The last one has no tags by version, only the release of Debian; to keep it from changing, name a
# digest: --build-arg RUNTIME=gcr.io/distroless/base-nossl-debian12:nonroot@sha256:…

ARG RUNTIME=gcr.io/distroless/base-nossl-debian12:nonroot
# The stage that compiles, or an image that has /image of it already.
ARG PROGRAM=build

FROM rust:1.95.0-bookworm AS build
WORKDIR /build

# The dependencies first, with an empty program: this layer is rebuilt only when they change.
COPY Cargo.toml Cargo.lock ./
# Benchmarks and tests that the manifest names are not part of the image.
RUN awk '/^\[/ { skip = /^\[\[(bench|test|example)\]\]/ } !skip' Cargo.toml > Cargo.image.toml \
 && mv Cargo.image.toml Cargo.toml \
 && mkdir src \
 && echo 'fn main() {}' > src/main.rs \
 && touch src/lib.rs \
 && cargo build --release --locked --bin flash-sale

COPY config config
COPY migrations migrations
COPY lua lua
COPY build.rs build.rs
COPY src src
# Cargo compares file times: the real files may be older than the empty ones that were just compiled.
RUN touch src/main.rs src/lib.rs \
 && cargo build --release --locked --bin flash-sale \
 && mkdir /image \
 # Function names stay, for backtraces; line tables are three quarters of the file.
 && strip --strip-debug -o /image/flash-sale target/release/flash-sale \
 # Unwinds panics. Images that have it bring a third of their size in libraries that are not used.
 && cp "$(gcc -print-file-name=libgcc_s.so.1)" /image/

FROM ${PROGRAM} AS program

# A C library, certificate authorities, time zones; no shell, no package manager.
FROM ${RUNTIME}
COPY --from=program /image/libgcc_s.so.1 /usr/lib/
COPY --from=program /image/flash-sale /usr/local/bin/

# Cargo.toml's; `make test` compares them.
ARG VERSION=0.1.0
# The commit, and the address of its repository: nothing in the build knows them.
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="flash-sale" \
      org.opencontainers.image.description="A flash-sale service that neither oversells nor undersells: one binary, PostgreSQL, Redis" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"

# By number, so that an orchestrator can verify that it is not root.
USER 65532:65532
# The profile that rejects the development key; override it to use another profile.
ENV FLASH_SALE_ENV=production
# Where the system gives huge pages to every program, connections would take half as much memory again.
ENV MIMALLOC_ALLOW_THP=0
# 8080: buyers. 9090: Prometheus and probes.
EXPOSE 8080 9090
# It fails readiness, keeps serving, drains, and ends within shutdown.grace + shutdown.drain (25 s): allow 30 s or more.
STOPSIGNAL SIGTERM
# Requests /livez: an unavailable database is no reason to restart the service.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/usr/local/bin/flash-sale", "health"]

ENTRYPOINT ["/usr/local/bin/flash-sale"]
CMD ["serve"]
