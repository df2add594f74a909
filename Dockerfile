# The media server in a container:
#   docker build -t buddycloud/media-server .
# Configured by a directory with mediaserver.properties, or by the table "configuration" of a database:
#   docker run -p 8080:8080 -v CONFIG:/config/media-server:ro -v MEDIA:/media buddycloud/media-server
#   docker run -p 8080:8080 -e DATABASE='jdbc:postgresql://HOST/DB?user=U&password=P' -v MEDIA:/media buddycloud/media-server
# media.storage.root is /media then. Other commands: docker run ... buddycloud/media-server check

FROM rust:1-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake nasm
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo .cargo
COPY src src
COPY sql sql
COPY webp webp
RUN cargo build --release --locked

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl ffmpeg libssl3 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --user-group --uid 990 --home-dir /media --no-create-home buddycloud \
 && install -d -o buddycloud -g buddycloud -m 0750 /media /config/media-server
COPY --from=build /src/target/release/buddycloud-media-server /usr/local/sbin/
USER buddycloud
VOLUME ["/config/media-server", "/media"]
EXPOSE 8080
# After SIGTERM the server finishes requests within 20 seconds: docker stop -t 30.
STOPSIGNAL SIGTERM
# Any response means that the server is alive, even if it can't reach other services. Set HEALTH_URL if it listens elsewhere.
HEALTHCHECK --interval=30s --timeout=10s --start-period=10s \
    CMD curl -sS -k -o /dev/null --max-time 8 "${HEALTH_URL:-http://127.0.0.1:8080/}"
ENTRYPOINT ["/usr/local/sbin/buddycloud-media-server"]
