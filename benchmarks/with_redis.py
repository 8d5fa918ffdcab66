"""Run a command beside a redis-server of its own: ``python -m benchmarks.with_redis COMMAND ... {} ...``.

``{}`` stands for the URL of the server, which ends with the command.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from benchmarks.redis_server import private_redis


def main(command: Sequence[str]) -> int:
    with private_redis() as server:
        host, port = server["hosts"][0]
        words = [word.replace("{}", f"redis://{host}:{port}") for word in command]
        return subprocess.run(words, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
