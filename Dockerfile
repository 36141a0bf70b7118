# syntax=docker/dockerfile:1

# Dependencies and our own code are compiled into caches that outlive a build: a change of ours compiles ours alone.
FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin metriqlab && \
    cp target/release/metriqlab /metriqlab

# glibc, the root certificates and a user that is not root; no shell.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /metriqlab /usr/local/bin/metriqlab
ENV METRIQLAB_BIND=0.0.0.0:8080
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["metriqlab", "healthcheck", "http://127.0.0.1:8080/healthz"]
ENTRYPOINT ["metriqlab"]
CMD ["api"]
