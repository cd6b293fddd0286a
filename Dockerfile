# The dashboard for a server. docs/deployment.md says how to run it, and how to check the digest.
ARG PYTHON_IMAGE=python:3.11.13-slim-bookworm@sha256:86adf8dbadc3d6e82ee5dd2c74bec2e1c2467cdad47886280501df722372d2e1
FROM ${PYTHON_IMAGE}

ENV HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    STREAMLIT_SERVER_ADDRESS=0.0.0.0 \
    STREAMLIT_SERVER_PORT=8501 \
    STREAMLIT_SERVER_HEADLESS=true \
    ROBUSTNESS_RUNS=/data/runs \
    ROBUSTNESS_CACHE=/data/models \
    KERAS_HOME=/data/models/keras

WORKDIR /app
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt

COPY app.py LICENSE ./
COPY pages pages
COPY robustness robustness
COPY .streamlit/config.toml .streamlit/
RUN python -m compileall -q .

# From here on nothing runs as root. Data is in two volumes.
RUN install -d -o 10001 -g 10001 /data/runs /data/models
USER 10001:10001
# The first start then needs neither a network nor writable storage.
RUN python -m robustness models check --no-timing
VOLUME ["/data/runs", "/data/models"]

EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python", "-c", "from http.client import HTTPConnection as To; ask = To('127.0.0.1', 8501, timeout=4); ask.request('GET', '/_stcore/health'); raise SystemExit(ask.getresponse().status != 200)"]
CMD ["streamlit", "run", "app.py"]
