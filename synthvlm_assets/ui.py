"""`make ui`: the Dagster UI with all that it needs, in place of `dagster dev`.

Belongs here: starting and ending the code server, the daemon and the webserver. Does not belong here: which requests
the webserver refuses (webserver.py).

    python -m synthvlm_assets.ui [--port 3000] [--host 127.0.0.1] [--name synthvlm.lan:3000]

One TCP port listens, that of the webserver. The code server, which both it and the daemon use, listens on a Unix socket
of this user's. Ctrl-C ends all three; if one of them ends by itself, so do the others, but for the code server, which
is started again.
"""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import dagster as dg
import typer
import uvicorn
import yaml
from dagster._cli.proxy_server_manager import ProxyServerManager
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget, WorkspaceFileTarget
from dagster._utils.log import configure_loggers

from synthvlm_assets.webserver import GuardedWebserver, names_of
from synthvlm_core.errors import Mendable

PORT = 3000
LOCATION = ModuleTarget("synthvlm_assets.definitions", None, None, location_name="synthvlm")
_ENDS_WITHIN = 30.0
"""Seconds that the daemon gets to end."""

logger = logging.getLogger("dagster.ui")


def main(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(help=f"Port to listen on. [default: {PORT}, or a free one]")] = None,
    name: Annotated[
        str,
        typer.Option(
            envvar="SYNTHVLM_UI_NAMES",
            help="Names beside localhost under which browsers open the UI, as in the address bar, with commas.",
        ),
    ] = "",
) -> None:
    """Serve the Dagster UI of SYNTHVLM_RECIPE over SYNTHVLM_STORE, with the instance in DAGSTER_HOME."""
    configure_loggers(log_level="INFO")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        names = names_of(name)
        if not os.environ.get("DAGSTER_HOME"):
            raise Mendable("DAGSTER_HOME is not set: name the folder of the Dagster instance, or use `make ui`")
        listening = _listen(host, port)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with contextlib.suppress(KeyboardInterrupt), listening:
        if not _serve(listening, names):
            raise typer.Exit(1)


def _listen(host: str, port: int | None) -> socket.socket:
    """A listening socket; without a port the usual one or, if that is taken, a free one."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, PORT if port is None else port), family=family)
    except OSError as error:
        if port is not None:
            raise Mendable(f"cannot listen on port {port} of {host} ({error.strerror}): name another one") from None
    logger.warning("Port %s is taken, using a free one.", PORT)
    return socket.create_server((host, 0), family=family)


def _serve(listening: socket.socket, names: frozenset[str]) -> bool:
    """Serve until interrupted, or until the daemon ends, which returns False."""
    with contextlib.ExitStack() as running:
        instance = running.enter_context(dg.DagsterInstance.get())
        instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3600, max_overflow=20)
        code = running.enter_context(ProxyServerManager(instance, LOCATION, code_server_log_level="WARNING"))
        folder = running.enter_context(tempfile.TemporaryDirectory())
        workspace = Path(folder, "workspace.yaml")
        workspace.write_text(yaml.safe_dump({"load_from": list(code.get_code_server_specs())}))
        daemon = running.enter_context(_daemon(workspace))
        target = WorkspaceFileTarget([str(workspace)])
        context = running.enter_context(WorkspaceProcessContext(instance, target, version=dg.__version__))
        app = GuardedWebserver(context, names).create_asgi_app()
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=3))
        threading.Thread(target=_end_with, args=(daemon, server), daemon=True).start()
        address, port = listening.getsockname()[:2]
        shown = {"127.0.0.1": "localhost"}.get(address, f"[{address}]" if ":" in address else address)
        logger.info("Serving the Dagster UI on http://%s:%s", shown, port)
        server.run(sockets=[listening])
    return False  # an interrupted server raises KeyboardInterrupt


@contextlib.contextmanager
def _daemon(workspace: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Dagster's daemon: queue, sensors, backfills."""
    quiet = ["--log-level", "warning"]  # else a line every few seconds that it looked; what runs tell is printed anyway
    process = subprocess.Popen([sys.executable, "-m", "dagster._daemon", "run", *quiet, "--workspace", str(workspace)])
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_ENDS_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with(daemon: subprocess.Popen[bytes], server: uvicorn.Server) -> None:
    status = daemon.wait()
    if not server.should_exit:
        logger.error("Dagster's daemon ended with status %s: ending all", status)
        server.should_exit = True


if __name__ == "__main__":
    typer.run(main)
