# For who builds with docker, podman or buildah; `cargo xtask image` makes the same root file system without any of them.
#
#   docker build --tag localhost/mesh-agent:0.1.0 .

# The tag says which Rust and which Debian; add the digest (@sha256:...) where builds must not move at all.
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# Installs what builds the kernel programs, from Debian and by cargo, all of it at the versions of their lock files.
RUN cargo xtask image --root /image

# The agent, meshctl, the libraries they are linked with, and certificate authorities. No shell.
FROM scratch
COPY --from=build /image/ /
ENV PATH=/usr/bin
ENTRYPOINT ["/usr/bin/mesh-agent"]
LABEL org.opencontainers.image.title="mesh-agent" \
      org.opencontainers.image.description="The node agent of the mesh, and meshctl to inspect what the kernel holds" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT"
