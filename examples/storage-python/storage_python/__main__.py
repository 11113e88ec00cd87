"""What happens when the relay starts the plugin."""

import ctypes
import json
import os
import signal
import sys
import tempfile

# The core of grpc writes lines of its own to standard error; only its errors are
# of interest. It reads this when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

from concurrent.futures import ThreadPoolExecutor

import grpc
from cwtch.relay.plugin.v1 import plugin_pb2_grpc, storage_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from .handshake import PROTOCOL, HandshakeError, Identity, Invitation
from .life import Life
from .log import Log
from .service import DESCRIPTION, PluginService, StorageService

MAX_REQUEST = 16 << 20  # bytes; the default of gRPC is 4 MiB
THREADS = 8  # calls that are served at once; more wait for their turn
LAST_CALLS = 5  # seconds for what is under way when the relay is gone


def main() -> int:
    log = Log(os.environ.get("CWTCH_RELAY_PLUGIN_LOG_LEVEL", "info"))
    os.umask(0o077)
    name_process(f"cwtch-{DESCRIPTION.name}")
    try:
        invitation = Invitation.read(os.environ)
        if invitation is not None:
            return serve(invitation, log)
        if sys.argv[1:] == ["debug"]:
            return debug(log)
        return by_hand()
    except HandshakeError as error:
        log.error("no handshake", error=str(error))
    except Exception:
        log.exception("the plugin failed")
    return 1


def serve(invitation: Invitation, log: Log) -> int:
    """Serves until the relay is done with the plugin, or gone."""
    # These are meant for the relay, which ends the plugin in good order.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    life = Life()
    identity = Identity.new()
    server = new_server(life, log)
    socket = os.path.join(invitation.socket_dir, "plugin.sock")
    server.add_secure_port(f"unix:{socket}", identity.credentials(invitation.client_certificate))
    server.start()
    print(identity.line(socket), flush=True)
    # From here on standard output is nobody's; what a library prints is a log line.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    await_end(invitation.lifeline)
    try:
        life.shutdown(LAST_CALLS)
    finally:
        server.stop(None)
    return 0


def await_end(lifeline: int) -> None:
    """Returns when the lifeline, a pipe on which nothing is written, has ended:
    the relay has closed its end, or is gone and the kernel has."""
    while os.read(lifeline, 64):
        pass


def debug(log: Log) -> int:
    """Serves a relay that attaches to this process, until ^C: without a handshake,
    TLS and lifeline, in a directory that nobody else can enter."""
    with tempfile.TemporaryDirectory(prefix="cwtch-plugin-") as directory:
        life = Life(lasting=True)
        server = new_server(life, log)
        socket = os.path.join(directory, "plugin.sock")
        server.add_insecure_port(f"unix:{socket}")
        server.start()
        name = f"{DESCRIPTION.kind}/{DESCRIPTION.name}"
        line = json.dumps({name: {"pid": os.getpid(), "socket": socket, "protocol": PROTOCOL}})
        print(f"CWTCH_REATTACH_PLUGINS='{line}'", flush=True)
        try:
            signal.pause()
        except KeyboardInterrupt:
            life.shutdown(LAST_CALLS)
            server.stop(None)
    return 0


def name_process(name: str) -> None:
    """Sets the name that ps and top show, of which 15 bytes count. A process that
    is executed by a descriptor goes by the number of that otherwise."""
    PR_SET_NAME = 15  # prctl(2)
    ctypes.CDLL(None).prctl(PR_SET_NAME, name.encode(), 0, 0, 0)


def by_hand() -> int:
    print(
        f'error: this is the {DESCRIPTION.kind} plugin "{DESCRIPTION.name}" of cwtch-relay,'
        f" version {DESCRIPTION.version}, which a relay starts by itself\n"
        "hint: name it in the configuration of the relay,"
        ' or run it with "debug" to have a relay attach to it',
        file=sys.stderr,
    )
    return 1


def new_server(life: Life, log: Log) -> grpc.Server:
    server = grpc.server(
        ThreadPoolExecutor(max_workers=THREADS),
        options=[("grpc.max_receive_message_length", MAX_REQUEST), ("grpc.max_send_message_length", -1)],
    )
    plugin_pb2_grpc.add_PluginServicer_to_server(PluginService(life, log), server)
    storage_pb2_grpc.add_StorageServicer_to_server(StorageService(life, log), server)
    # The relay pings with the standard service, under the name "plugin".
    pings = health.HealthServicer()
    pings.set("plugin", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(pings, server)
    return server


def run() -> None:
    """Runs the plugin and ends the process, without waiting for threads of grpc."""
    status = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    run()
