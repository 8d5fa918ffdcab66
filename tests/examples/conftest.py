"""The chat of ``examples/chat`` as a real process, and a real browser."""

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, urlencode

import pytest

import channel_layers

CHAT = Path(__file__).parents[2] / "examples" / "chat"
PYTHON = [sys.executable, *["-O"] * sys.flags.optimize]
SERVE = [*PYTHON, str(CHAT / "manage.py"), "serve"]
SHARED = Path("/dev/shm")
READY = re.compile(r"^Chat is ready: (http://\S+/)$", re.MULTILINE)

Found = TypeVar("Found")


def _wait_until(predicate: Callable[[], Found], what: str | Callable[[], str], seconds: float = 30) -> Found:
    """The first true answer of ``predicate``; the one place of these tests that sleeps."""
    deadline = time.monotonic() + seconds
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.02)
    return answer


def _unavailable(reason: str) -> NoReturn:
    """Skip on a desk that lacks a tool; fail where its absence would hide that nothing was tested."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass(frozen=True)
class Chat:
    """A served chat: its address, its process, and what it has written to standard error."""

    url: str
    process: subprocess.Popen[bytes]
    errors: Path

    @property
    def origin(self) -> str:
        return self.url.rstrip("/")

    @property
    def port(self) -> int:
        return int(self.origin.rpartition(":")[2])

    def workers(self) -> set[int]:
        """The processes that serve, as far as the system says it."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        commands = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
        return {child for child, command in commands.items() if b"spawn_main" in command}

    def remains(self) -> list[str]:
        """What this chat has in the file system of the shared memory."""
        from channel_layers.ipc.site import Site

        return sorted(path.name for path in SHARED.glob(Site(f"chat-{self.port}").base[1:] + "*"))

    def room_url(self, room: str, name: str | None = None) -> str:
        query = "" if name is None else "?" + urlencode({"name": name})
        return f"{self.url}rooms/{quote(room, safe='')}/{query}"

    def socket_url(self, room: str, name: str) -> str:
        return self.room_url(room, name).replace("http", "ws", 1)


def _environment() -> dict[str, str]:
    """Chat processes get the very package that this session imports, be it the checkout or an installed wheel."""
    paths = [str(Path(channel_layers.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


@contextlib.contextmanager
def _serve(
    folder: Path, port: int = 0, *, command: Sequence[str] = SERVE, complaints: str = r"\(expired\)"
) -> Iterator[Chat]:
    """A chat that ends with 0 and leaves nothing behind, unless the test has killed it.

    :param complaints: matches the lines that it may write to standard error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    output, errors = folder / "stdout.txt", folder / "stderr.txt"
    with output.open("wb") as stdout, errors.open("wb") as stderr:
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            env=_environment(),
            stdout=stdout,
            stderr=stderr,
        )

    def ready() -> re.Match[str] | None:
        if process.poll() is not None:
            pytest.fail(f"serve ended with {process.returncode}:\n{errors.read_text()}")
        return READY.search(output.read_text())

    try:
        chat = Chat(_wait_until(ready, "the chat says that it is ready")[1], process, errors)
        yield chat
        if process.returncode == -signal.SIGKILL:
            return
        if process.poll() is None:
            process.terminate()
        assert process.wait(timeout=30) == 0, errors.read_text()
        # No traceback, no warning, no message that the layer had to drop, but for those whose socket had just closed:
        # nobody reads them any more.
        unexpected = [line for line in errors.read_text().splitlines() if not re.search(complaints, line)]
        assert unexpected == []
        assert chat.remains() == []
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    return _wait_until


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[..., contextlib.AbstractContextManager[Chat]]]:
    """``with serve(folder, port=0) as chat``: for tests that need a server of their own."""
    for module in ("channels", "daphne", "django"):
        if importlib.util.find_spec(module) is None:
            _unavailable(f"{module} is not installed: pip install 'channel_layers[demo]'")
    with pytest.MonkeyPatch.context() as patch:
        # Clients and chromedriver look up the machine's proxy, which has no business here.
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        patch.setenv("no_proxy", "127.0.0.1,localhost")
        yield _serve


@pytest.fixture
def run_python(serve: object) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run Python to its end, with the chat on its path."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = {**_environment(), **environment}
        env["PYTHONPATH"] = os.pathsep.join([str(CHAT), env["PYTHONPATH"]])
        return subprocess.run([*PYTHON, *arguments], env=env, capture_output=True, text=True, timeout=100, check=False)

    return run


@pytest.fixture(scope="session")
def chat_server(serve: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chat]:
    with serve(tmp_path_factory.mktemp("chat")) as chat:
        yield chat


@pytest.fixture
def room() -> str:
    """A room of the test's own."""
    return f"Café ☕ {uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def browser(chat_server: Chat, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium or Chrome, without a screen and with an empty profile."""
    if importlib.util.find_spec("selenium") is None:
        _unavailable("selenium is not installed")
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException

    options = webdriver.ChromeOptions()
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    program, driver = next(filter(None, map(shutil.which, names)), None), shutil.which("chromedriver")
    if program is not None:
        options.binary_location = program
    if sys.platform != "darwin" and (program is None or driver is None):
        # On macOS neither needs to be on the PATH: Selenium finds the application and fetches its driver.
        _unavailable("no Chromium with chromedriver on the PATH")
    for argument in (
        "--headless=new",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--disable-quic",
        "--disable-sync",
        "--no-first-run",
        f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")  # Chromium's sandbox refuses root
    service = webdriver.ChromeService(executable_path=driver, log_output=subprocess.DEVNULL)
    try:
        browser = webdriver.Chrome(options=options, service=service)
    except WebDriverException as error:
        _unavailable(f"the browser does not start: {error}")
    try:
        yield browser
    finally:
        browser.quit()
