# The service as an image: one binary, nothing else. Defaults, profiles, migrations and Lua scripts are in the binary.

FROM rust:1-bookworm AS build
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
 # Function names stay, for backtraces; line tables are four fifths of the file.
 && strip --strip-debug -o /image/flash-sale target/release/flash-sale

# A C library and certificate authorities; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /image/flash-sale /usr/local/bin/flash-sale

# By number, so that an orchestrator can verify that it is not root.
USER 65532:65532
# The profile that rejects the development key; override it to use another profile.
ENV FLASH_SALE_ENV=production
# 8080: buyers. 9090: Prometheus and probes.
EXPOSE 8080 9090
# It fails readiness, keeps serving, drains, and ends within shutdown.grace + shutdown.drain (25 s): allow 30 s or more.
STOPSIGNAL SIGTERM
# Requests /livez: an unavailable database is no reason to restart the service.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/usr/local/bin/flash-sale", "health"]

ENTRYPOINT ["/usr/local/bin/flash-sale"]
CMD ["serve"]
