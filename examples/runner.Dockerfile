# An image for the executor `docker`: Python with what `python -m wegent.runner` needs, and the tools of your agents.
# From the repository's folder:  docker build -t wegent-runner -f examples/runner.Dockerfile .
FROM python:3.12-slim
RUN pip install --no-cache-dir trio
COPY wegent/__init__.py /opt/wegent/wegent/
COPY wegent/core /opt/wegent/wegent/core
COPY wegent/runner /opt/wegent/wegent/runner
ENV PYTHONPATH=/opt/wegent
# Agents of your own go beside it: COPY my_agents.py /opt/wegent/
