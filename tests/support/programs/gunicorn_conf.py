"""What gunicorn's workers say once they take requests and signals."""

from typing import Any

control_socket_disable = True


def post_worker_init(worker: Any) -> None:
    """Called in the worker."""
    worker.log.info("worker is ready")
