"""``python manage.py serve``: the chat in several processes, over a channel layer in shared memory.

Where there is no shared memory, one process serves everybody over the layer in memory.
"""

import argparse
import contextlib
import os
import signal
import socket
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import channel_layers, get_channel_layer
from django.core.management import BaseCommand, CommandError, CommandParser

from channel_layers.memory import InMemoryChannelLayer


class Command(BaseCommand):
    help = "Serves the chat and its dice workers until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="Address to listen on (default: %(default)s).")
        parser.add_argument(
            "--port", type=port_number, default=8000, help="Port to listen on; 0: a free one (default: %(default)s)."
        )
        parser.add_argument(
            "--workers", type=worker_number, default=2, help="Processes that serve (default: %(default)s)."
        )

    def handle(self, *args: Any, host: str, port: int, workers: int, **options: Any) -> None:
        if not host.strip("[] "):
            raise CommandError("--host needs an address. For all addresses of this machine: --host 0.0.0.0")
        # Shells start what runs in the background with Ctrl-C ignored; whoever sends the signal all the same means it.
        for end in (signal.SIGINT, signal.SIGTERM):
            signal.signal(end, signal.default_int_handler)
        with listen(host, port) as listening:
            # Two chats on one machine are two. Of each, all processes get this.
            os.environ["CHAT_PREFIX"] = f"chat-{listening.getsockname()[1]}"
            with contextlib.suppress(KeyboardInterrupt):
                self.serve(listening, workers)

    def serve(self, listening: socket.socket, workers: int) -> None:
        problem = problem_of_layer()
        if problem is None and workers > 1:
            self.serve_with_workers(listening, workers)
        else:
            if problem is not None:
                self.stderr.write(f"One process serves everybody, since several cannot share memory here: {problem}")
                channel_layers.set("default", InMemoryChannelLayer(group_expiry=None))
            from chat import server

            server.run(listening, lambda: self.ready(listening, "one process"), signals=True)

    def serve_with_workers(self, listening: socket.socket, count: int) -> None:
        from chat.workers import WorkerError, Workers

        workers = Workers(listening)
        try:
            workers.lead(count, lambda: self.ready(listening, f"{count} processes"))
        except WorkerError as failure:
            raise CommandError(str(failure)) from None
        finally:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            workers.end()

    def ready(self, listening: socket.socket, who: str) -> None:
        host, port = listening.getsockname()[:2]
        host = f"[{host}]" if ":" in host else host
        self.stdout.write(f"Chat is ready: http://{host}:{port}/")
        self.stdout.write(f"Open it in two windows. It is served by {who}; Ctrl-C ends it.")
        self.stdout.flush()


def listen(host: str, port: int) -> socket.socket:
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        listening = socket.create_server(address[:2], family=family, backlog=128)
        listening.setblocking(False)  # of those who wait for a visitor, all are woken, and one gets it
        return listening
    except OSError as error:
        raise CommandError(
            f"Cannot listen on {host} port {port}: {error.strerror or error}. "
            "Choose another port with --port 8001 (make demo PORT=8001), or any free one with --port 0."
        ) from None


def problem_of_layer() -> Exception | None:
    """Why processes cannot share the layer of the settings here; None if they can."""
    try:
        layer = get_channel_layer()
        async_to_sync(layer.new_channel)()
        async_to_sync(layer.close)()
    except Exception as error:
        return error
    return None


def port_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is no port; ports are 0 to 65535")
    return int(text)


def worker_number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 64):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes; take 1 to 64")
    return int(text)
