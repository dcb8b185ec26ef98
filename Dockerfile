# docker build --target cpu | cpu-explain | gpu
# A base by digest: --build-arg PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm@sha256:...
ARG PYTHON_IMAGE=docker.io/library/python:3.11-slim-bookworm
# The index of PyTorch's builds for CPUs, which its installation page names: 5 GB of CUDA libraries less.
# Empty: what the package index has.
ARG TORCH_INDEX=

FROM ${PYTHON_IMAGE} AS python
ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_ROOT_USER_ACTION=ignore \
    PYTHONUNBUFFERED=1

FROM python AS locked
WORKDIR /build
COPY pyproject.toml deploy/requirements.lock deploy/image/requirements.py ./
RUN python -m venv --without-pip /opt/venv

FROM locked AS packages-cpu
RUN python requirements.py cpu > wanted.txt \
    && python -m pip --python /opt/venv/bin/python install --constraint requirements.lock --requirement wanted.txt

FROM locked AS packages-cpu-explain
ARG TORCH_INDEX
RUN python requirements.py cpu-explain > wanted.txt \
    && python -m pip --python /opt/venv/bin/python install ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} \
      --constraint requirements.lock --requirement wanted.txt

FROM locked AS packages-gpu
RUN python requirements.py gpu > wanted.txt \
    && python -m pip --python /opt/venv/bin/python install --constraint requirements.lock --requirement wanted.txt

FROM locked AS bundles
ARG TORCH_INDEX
RUN python requirements.py bundles > wanted.txt \
    && python -m pip --python /opt/venv/bin/python install ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} \
      --constraint requirements.lock --requirement wanted.txt
COPY cxr cxr
COPY export export
COPY models models
RUN for run in models/*/run.json; do \
      /opt/venv/bin/python -m export build --run "${run%/run.json}" --out /opt/cxr/bundles || exit 1; \
    done

FROM python AS service
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="cxr-inference" \
      org.opencontainers.image.description="Chest-radiograph inference over HTTP. Research use only, not a medical device." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
RUN python -m pip uninstall --yes setuptools wheel pip \
    && install --directory --owner=10001 --group=10001 /var/lib/cxr
WORKDIR /opt/cxr
COPY LICENSE NOTICE deploy/image/healthcheck.py ./
COPY cxr cxr
COPY service service
RUN python -m compileall -q --invalidation-mode unchecked-hash cxr service
COPY --from=bundles /opt/cxr/bundles bundles
ENV PATH=/opt/venv/bin:${PATH} \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    OMP_WAIT_POLICY=passive \
    CXR_HOST=0.0.0.0 \
    CXR_PORT=8000 \
    CXR_BUNDLES_DIR=/opt/cxr/bundles
EXPOSE 8000
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 CMD ["python", "/opt/cxr/healthcheck.py"]
ENTRYPOINT ["python", "-m", "service"]
CMD ["serve"]

FROM service AS gpu
COPY --from=packages-gpu /opt/venv /opt/venv
ENV CXR_PROVIDER=cuda \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM service AS cpu-explain
COPY --from=packages-cpu-explain /opt/venv /opt/venv
ENV CXR_PROVIDER=cpu

FROM service AS cpu
COPY --from=packages-cpu /opt/venv /opt/venv
ENV CXR_PROVIDER=cpu
