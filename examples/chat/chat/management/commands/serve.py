"""``python manage.py serve``: Daphne and Channels' ``runworker`` in one process.

The in-memory layer lives in one process, while ``runworker`` usually has its own. Here both share one: Daphne runs in
the main thread, the worker in a second one with its own event loop. The layer wakes a receiver whichever thread and
loop it waits in, so neither of them notices. With a layer between processes, start them apart:
``daphne project.asgi:application`` and ``python manage.py runworker dice``.
"""

import argparse
import logging
import signal
import threading
from typing import Any

from channels.layers import get_channel_layer
from channels.routing import get_default_application
from daphne.endpoints import build_endpoint_description_strings
from daphne.server import Server
from django.core.management import BaseCommand, CommandError, CommandParser, call_command
from twisted.internet import reactor
from twisted.python.failure import Failure

logger = logging.getLogger(__name__)


class ChatServer(Server):
    """Daphne's server, which keeps the reason why it could not listen instead of logging it."""

    listen_failure: str | None = None

    def listen_error(self, failure: Failure) -> None:
        reason = getattr(failure.value, "socketError", failure.value)
        self.listen_failure = getattr(reason, "strerror", None) or str(reason)
        self.stop()


class Command(BaseCommand):
    help = "Serves the chat and its dice worker until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="Address to listen on (default: %(default)s).")
        parser.add_argument(
            "--port", type=port_number, default=8000, help="Port to listen on; 0: a free one (default: %(default)s)."
        )

    def handle(self, *args: Any, host: str, port: int, **options: Any) -> None:
        if not host.strip("[] "):
            raise CommandError("--host needs an address. For all addresses of this machine: --host 0.0.0.0")
        # Shells start what runs in the background with Ctrl-C ignored; whoever sends the signal all the same means it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        # Channels makes a layer when it is first asked for, without a lock. Asked for by both threads at once, it would
        # make two, and nobody would hear the other.
        get_channel_layer()
        server = ChatServer(
            application=get_default_application(),
            endpoints=build_endpoint_description_strings(host=host, port=port),
        )
        # Once the reactor runs, its handlers for Ctrl-C and SIGTERM are in place: every later end is a clean one.
        reactor.callWhenRunning(self.ready, server)
        server.run()
        if server.listen_failure:
            raise CommandError(
                f"Cannot listen on {host} port {port}: {server.listen_failure}. "
                "Choose another port with --port 8001 (make demo PORT=8001), or any free one with --port 0."
            )

    def ready(self, server: ChatServer) -> None:
        threading.Thread(target=run_worker, name="dice worker", daemon=True).start()
        [(host, port)] = server.listening_addresses
        host = f"[{host}]" if ":" in host else host
        self.stdout.write(f"Chat is ready: http://{host}:{port}/")
        self.stdout.flush()


def run_worker() -> None:
    """Run Channels' own command, and say so if it ever ends: a thread that dies in silence is found too late."""
    try:
        call_command("runworker", "dice")
    except Exception:
        logger.exception("The dice worker has died. Chatting goes on, but nobody answers /roll: restart the server.")
    else:
        logger.error("The dice worker has ended. Chatting goes on, but nobody answers /roll: restart the server.")


def port_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port; ports are 0 to 65535")
    return int(text)
