# The program in a container, for servers and clusters: docs/how-to/containers.md.
#   docker build -t bioimage-inference .                               PyTorch's CPU build
#   docker build -t bioimage-inference:cuda --build-arg DEVICE=cuda .  PyTorch's CUDA build, for NVIDIA GPUs
FROM python:3.11-slim-bookworm AS build
ARG DEVICE=cpu
ARG TORCH=2.13.0
WORKDIR /source
RUN python -m venv /opt/bioimage-inference
ENV PATH=/opt/bioimage-inference/bin:$PATH PIP_NO_CACHE_DIR=1
# PyTorch first: it is the largest layer, and a change of the sources does not repeat its download.
COPY scripts/install_torch.py scripts/
RUN case "$DEVICE" in \
        cpu) build="torch==$TORCH+cpu --extra-index-url https://download.pytorch.org/whl/cpu" ;; \
        cuda) build="torch==$TORCH" ;; \
        *) echo "DEVICE is '$DEVICE'. Use cpu or cuda." >&2; exit 1 ;; \
    esac; \
    python scripts/install_torch.py --request "$build"
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY bioimage_inference bioimage_inference
COPY test-data/demo-model.zip test-data/nuclei.tif test-data/
RUN pip install --constraint constraints.txt ".[cluster,crate,microscopes,onnx,remote]"

FROM python:3.11-slim-bookworm
COPY --from=build /opt/bioimage-inference /opt/bioimage-inference
# Python's own temporary folder is the home: Galaxy and Docker's --user start containers with users that have no home.
ENV PATH=/opt/bioimage-inference/bin:$PATH HOME=/tmp
RUN useradd --uid 1000 --no-create-home --home-dir /tmp bioimage && mkdir /data && chown bioimage /data
USER 1000
WORKDIR /data
# An image that cannot predict is no image.
RUN bioimage-inference --version && bioimage-inference demo -o /tmp/demo && rm -r /tmp/demo
# No entry point, because Galaxy starts a shell in the container.
CMD ["bioimage-inference", "--help"]
