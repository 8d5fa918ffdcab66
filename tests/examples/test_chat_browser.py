"""The chat's page in Chromium."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

if not os.environ.get("CI"):  # where the import below fails instead
    pytest.importorskip("selenium")

from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys


class Window:
    """One window of the browser; every verb looks at it first, since the driver sees one window at a time."""

    def __init__(self, browser: Any, wait_until: Callable[..., Any]) -> None:
        self._browser = browser
        self._wait_until = wait_until
        browser.switch_to.new_window("window")
        self._handle = browser.current_window_handle

    @property
    def browser(self) -> Any:
        self._browser.switch_to.window(self._handle)
        return self._browser

    def open(self, url: str) -> None:
        self.browser.get(url)

    def enter(self, chat: Any, room: str, name: str) -> None:
        """Through the start page, as a visitor does."""
        self.open(chat.url)
        for field, value in (("name", name), ("room", room)):
            element = self.browser.find_element(By.ID, field)
            element.clear()
            element.send_keys(value)
        element.send_keys(Keys.ENTER)
        self.shows(f"You joined as {name}")

    def say(self, text: str) -> None:
        self.browser.find_element(By.ID, "text").send_keys(text, Keys.ENTER)

    def text(self, element: str) -> str:
        """What a reader sees, hidden parts left out; empty as long as the page is not there."""
        script = "return document.getElementById(arguments[0])?.innerText ?? ''"
        return self.browser.execute_script(script, element)

    def shows(self, text: str, element: str = "log") -> None:
        self._wait_until(lambda: text in self.text(element), lambda: f"{text!r} in {self.text(element)!r}")

    def people(self) -> list[str]:
        return [name.text for name in self.browser.find_elements(By.CSS_SELECTOR, "#people .name")]

    def has_people(self, *names: str) -> None:
        self._wait_until(lambda: self.people() == list(names), f"the people {names}")

    def process(self) -> int:
        """Who serves this window."""
        self.shows("Connected to process", "state")
        return int(self.text("state").rpartition(" ")[2])

    def close(self) -> None:
        if self._handle in self._browser.window_handles:
            self.browser.close()


@pytest.fixture
def window(browser, wait_until) -> Iterator[Callable[[], Window]]:
    """Opens windows, and closes them at the end."""
    first = browser.current_window_handle
    with contextlib.ExitStack() as stack:
        stack.callback(browser.switch_to.window, first)

        def make() -> Window:
            made = Window(browser, wait_until)
            stack.callback(made.close)
            return made

        yield make


def test_one_types_and_the_other_reads_and_one_leaves_and_the_other_is_told(chat_server, room, window):
    ann, bob = window(), window()
    ann.enter(chat_server, room, "Ann")
    bob.enter(chat_server, room, "Bob")
    ann.shows("Bob joined")
    for each in (ann, bob):
        each.has_people("Ann", "Bob")

    ann.say("Hello, Bob!")
    bob.shows("Hello, Bob!")
    bob.say("/roll 2d6")
    ann.shows("Bob rolled 2d6:")
    bob.shows("You rolled 2d6:")

    bob.close()
    ann.shows("Bob left")
    ann.has_people("Ann")


def test_windows_of_different_processes_see_each_other(chat_server, room, window):
    ann, bob = window(), window()
    ann.enter(chat_server, room, "Ann")
    process = ann.process()
    # To another host, so that the browser makes new connections; and of two processes, the one that runs takes them.
    other = replace(chat_server, url=chat_server.url.replace("127.0.0.1", "localhost"))
    os.kill(process, signal.SIGSTOP)
    try:
        bob.enter(other, room, "Bob")
    finally:
        os.kill(process, signal.SIGCONT)
    assert bob.process() != process
    ann.shows("Bob joined")
    for each in (ann, bob):
        each.has_people("Ann", "Bob")

    ann.say("Hello, Bob!")
    bob.shows("Hello, Bob!")
    bob.say("/roll 2d6")
    ann.shows("Bob rolled 2d6:")
    bob.close()
    ann.shows("Bob left")


def test_what_people_write_is_shown_as_text(chat_server, room, window):
    ann, bob = window(), window()
    ann.enter(chat_server, room, "Ann")
    name, text = "<i>Bob</i>", "<img src=x onerror=\"document.title='taken'\"><b>bold</b>"
    bob.enter(chat_server, room, name)
    bob.say(text)
    ann.shows(text)
    ann.has_people(name, "Ann")
    assert not ann.browser.find_elements(By.CSS_SELECTOR, "#log img, #log b, #log i, #people i")
    assert ann.browser.title == f"{room} · Chat"


def test_names_are_isolated_from_the_text_around_them(chat_server, room, window):
    ann, bob = window(), window()
    ann.enter(chat_server, room, "Ann")
    name = "בוב"
    bob.enter(chat_server, room, name)
    bob.say("/roll 2d6")
    ann.shows(f"{name} rolled 2d6:")
    bob.close()
    ann.shows(f"{name} left")
    isolated = ann.browser.find_elements(By.CSS_SELECTOR, "#log .event bdi, #log .dice bdi")
    assert [element.text for element in isolated] == ["Ann", name, name, name]  # joined, joined, rolled, left


def test_a_refused_message_is_explained_beside_the_input(chat_server, room, window):
    ann = window()
    ann.enter(chat_server, room, "Ann")
    ann.say("/dance")
    ann.shows("for example: /roll 2d6", "error")
    ann.say("Sorry")
    ann.shows("Sorry")
    assert ann.text("error") == ""


def test_the_page_comes_back_when_the_server_does(serve, room, window, tmp_path):
    ann = window()
    with serve(tmp_path / "first") as chat:
        ann.enter(chat, room, "Ann")
        ann.shows("Connected", "state")
    ann.shows("Reconnecting", "state")
    ann.has_people()
    ann.say("typed in the meantime")
    port = int(chat.origin.rpartition(":")[2])
    with serve(tmp_path / "second", port):
        ann.shows("Connected", "state")
        ann.has_people("Ann")
        assert "typed in the meantime" not in ann.text("log")
        ann.say("")
        ann.shows("typed in the meantime")
        ann.close()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1100, "light")])
def test_the_pages_fit_their_window(chat_server, room, window, width, scheme):
    ann = window()
    metrics = {"width": width, "height": 780, "deviceScaleFactor": 1, "mobile": width < 500}
    ann.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    ann.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    ann.open(chat_server.url)
    assert page_width(ann) == width
    ann.enter(chat_server, room + " with a name that is long", "Somebody with a name that is rather long")
    ann.say("a_word_without_an_end_" * 20)
    ann.shows("without_an_end")
    assert page_width(ann) == width
    # The newest message lies above the input, not below the edge.
    script = "return log.lastElementChild.getBoundingClientRect().bottom <= compose.getBoundingClientRect().top"
    assert ann.browser.execute_script(script)


def page_width(window: Window) -> int:
    return window.browser.execute_script("return document.documentElement.scrollWidth")
