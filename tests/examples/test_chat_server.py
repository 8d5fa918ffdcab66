"""The chat as visitors meet it: real WebSocket and HTTP clients against a real process."""

import asyncio
import contextlib
import json
import os
import signal
import unicodedata
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest

if not os.environ.get("CI"):  # where the import below fails instead
    pytest.importorskip("websockets")

from visitors import DEADLINE, Visitor, deadline, visit
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus


def fetch(url: str, form: dict[str, str] | None = None, **headers: str) -> tuple[int, str, str]:
    """Status, address after redirects, and body."""
    request = Request(url, data=None if form is None else urlencode(form).encode(), headers=headers)
    try:
        with urlopen(request, timeout=DEADLINE) as response:
            return response.status, response.url, response.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.url, error.read().decode()


@pytest.mark.asyncio
async def test_who_comes_and_goes_is_announced(chat_server, room):
    async with visit(chat_server, room, "Ann") as ann:
        async with visit(chat_server, room, "Bob") as bob:
            await ann.hears("joined", name="Bob")
            await bob.hears("present", name="Ann")
        await ann.hears("left", name="Bob")


@pytest.mark.asyncio
async def test_a_message_reaches_everybody_in_the_room_and_nobody_else(chat_server, room):
    async with (
        visit(chat_server, room, "Ann") as ann,
        visit(chat_server, room, "Bob") as bob,
        visit(chat_server, room + "2", "Eve") as eve,
    ):
        await ann.say("Hello")
        for visitor in (ann, bob):
            await visitor.hears("message", name="Ann", text="Hello")
        await eve.say("Anybody here?")
        await eve.hears("message", name="Eve")
        assert [event["name"] for event in eve.heard] == ["Eve"] * 3  # welcome, joined, message


@pytest.mark.asyncio
async def test_the_worker_rolls_the_dice_for_everybody(chat_server, room):
    async with visit(chat_server, room, "Ann") as ann, visit(chat_server, room, "Bob") as bob:
        await ann.say("/roll 2d6")
        roll = await bob.hears("roll", name="Ann", dice="2d6")
        assert len(roll["rolls"]) == 2
        assert all(1 <= die <= 6 for die in roll["rolls"])
        assert roll["total"] == sum(roll["rolls"])
        assert await ann.hears("roll") == roll


@pytest.mark.asyncio
async def test_the_sync_view_speaks_to_the_room(chat_server, room):
    async with visit(chat_server, room, "Ann") as ann:
        url = chat_server.room_url(room) + "announce"
        status, _, body = await asyncio.to_thread(fetch, url, {"text": "Supper is ready"})
        assert (status, json.loads(body)) == (200, {"room": room, "text": "Supper is ready"})
        await ann.hears("announcement", text="Supper is ready")


@pytest.mark.parametrize(
    ("room", "form", "status", "reason"),
    [
        ("lobby", {}, 400, "must be a string"),
        ("lobby", {"text": " "}, 400, "needs some text"),
        ("lobby", {"text": "x" * 2001}, 400, "up to 2000 characters"),
        ("a/b", {"text": "Hello"}, 400, "no slash"),
        ("x" * 61, {"text": "Hello"}, 400, "up to 60 characters"),
        ("lobby", None, 405, ""),
    ],
)
def test_the_sync_view_refuses_with_a_reason(chat_server, room, form, status, reason):
    answer, _, body = fetch(chat_server.room_url(room) + "announce", form)
    assert answer == status
    assert reason in body


@pytest.mark.parametrize(
    "origin", ["https://elsewhere.example", "http://127.0.0.1:1", "http://[", "null", ""], ids=repr
)
def test_the_sync_view_takes_nothing_from_pages_of_other_sites(chat_server, origin):
    status, _, body = fetch(chat_server.room_url("lobby") + "announce", {"text": "Hello"}, Origin=origin)
    assert (status, list(json.loads(body))) == (403, ["error"])


def test_the_sync_view_takes_what_its_own_pages_send(chat_server, room):
    url = chat_server.room_url(room) + "announce"
    assert fetch(url, {"text": "Hello"}, Origin=chat_server.origin)[0] == 200


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        ("Hello", "no JSON object"),
        ("[]", "no JSON object"),
        ("", "no JSON object"),
        ("[" * 100_000, "no JSON object"),
        (b"\x00", "no JSON object"),
        ("{}", "must be a string"),
        ('{"text": 5}', "must be a string"),
        ('{"text": " "}', "needs some text"),
        (json.dumps({"text": "x" * 2001}), "up to 2000 characters"),
        ('{"text": "\\ud800"}', "surrogate"),
        ('{"text": "/dance"}', "/roll 2d6"),
        ('{"text": "/roll 2d1"}', "2 to 1000 sides"),
        ('{"text": "/roll 21d6"}', "1 to 20 dice"),
    ],
)
@pytest.mark.asyncio
async def test_a_bad_frame_is_answered_and_the_conversation_goes_on(chat_server, room, frame, reason):
    async with visit(chat_server, room, "Ann") as ann:
        await ann.connection.send(frame)
        assert reason in (await ann.hears("error"))["text"]
        await ann.say("Still here")
        await ann.hears("message", text="Still here")


@pytest.mark.parametrize(
    ("room", "name", "reason"),
    [
        ("a/b", "Ann", "no slash"),
        ("x" * 61, "Ann", "up to 60 characters"),
        (" ", "Ann", "must not be empty"),
        ("a\x07bell", "Ann", "one line"),
        ("lobby", "", "must not be empty"),
        ("lobby", "\u200d", "must not be empty"),
        ("lobby", "x" * 41, "up to 40 characters"),
    ],
)
@pytest.mark.asyncio
async def test_a_bad_address_is_explained_before_the_socket_closes(chat_server, room, name, reason):
    async with connect(chat_server.socket_url(room, name), origin=chat_server.origin) as connection:
        visitor = Visitor(connection)
        assert reason in (await visitor.hears("error"))["text"]
        with pytest.raises(ConnectionClosed) as closed:
            await visitor.hears("welcome")
        assert closed.value.rcvd.code == 4400


@pytest.mark.parametrize(("path", "origin"), [("rooms/lobby/", "https://elsewhere.example"), ("nowhere/", None)])
@pytest.mark.asyncio
async def test_a_strange_handshake_is_refused(chat_server, path, origin):
    url = chat_server.url.replace("http", "ws", 1) + path
    with pytest.raises(InvalidStatus) as refused:
        async with connect(url, origin=origin or chat_server.origin):
            pass
    assert refused.value.response.status_code == 403


@pytest.mark.asyncio
async def test_one_room_has_one_name_however_its_letters_are_composed(chat_server, room):
    composed, decomposed = (unicodedata.normalize(form, room) for form in ("NFC", "NFD"))
    assert composed != decomposed
    async with visit(chat_server, composed, "Ann") as ann, visit(chat_server, decomposed, "Bob") as bob:
        await ann.hears("joined", name="Bob")
        await ann.say("Hello")
        await bob.hears("message", text="Hello")


@pytest.mark.asyncio
async def test_twenty_visitors_hear_fifty_messages_in_order(chat_server, room):
    async with contextlib.AsyncExitStack() as stack:
        entering = (stack.enter_async_context(visit(chat_server, room, f"Visitor {n}")) for n in range(20))
        visitors = await asyncio.gather(*entering)
        texts = [f"message {n}" for n in range(50)]
        for text in texts:
            await visitors[0].say(text)
        await asyncio.gather(*(visitor.hears("message", text=texts[-1]) for visitor in visitors))
        for visitor in visitors:
            assert [event["text"] for event in visitor.heard if event["event"] == "message"] == texts


@pytest.mark.asyncio
async def test_who_enters_at_the_same_time_knows_of_each_other(chat_server, room):
    names = {f"Visitor {n}" for n in range(20)}
    async with contextlib.AsyncExitStack() as stack:
        entering = (stack.enter_async_context(visit(chat_server, room, name)) for name in names)
        for visitor in await asyncio.gather(*entering):
            if visitor.known() != names:
                await visitor.hears_until(lambda visitor=visitor: visitor.known() == names, "everybody")


def test_the_start_page_leads_into_the_room(chat_server):
    status, url, body = fetch(chat_server.url + "?" + urlencode({"name": "<Ann>", "room": "Café ☕"}))
    assert (status, url) == (200, chat_server.room_url("Café ☕", "<Ann>"))
    assert "<bdi>Café ☕</bdi>" in body
    # Without a name there is no entering the room.
    status, url, body = fetch(chat_server.room_url("lobby"))
    assert (status, url) == (200, chat_server.url + "?room=lobby")
    assert 'value="lobby"' in body


@pytest.mark.parametrize(("name", "room", "reason"), [("", "lobby", "Your name"), ("Ann", "<b>/", "no slash")])
def test_the_start_page_explains_what_is_wrong(chat_server, name, room, reason):
    status, _, body = fetch(chat_server.url + "?" + urlencode({"name": name, "room": room}))
    assert status == 400
    assert reason in body
    assert "<b>" not in body


def test_a_taken_port_is_one_clear_line(chat_server, run_python):
    port = chat_server.origin.rpartition(":")[2]
    ended = run_python("-m", "django", "serve", "--port", port, DJANGO_SETTINGS_MODULE="project.settings")
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert f"port {port}: Address already in use" in line
    assert "--port" in line


@pytest.mark.parametrize("host", ["", " ", "[]"])
def test_an_empty_host_is_one_clear_line(run_python, host):
    arguments = ("--host", host, "--port", "0")
    ended = run_python("-m", "django", "serve", *arguments, DJANGO_SETTINGS_MODULE="project.settings")
    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith("CommandError: --host needs an address")


@pytest.mark.asyncio
async def test_ctrl_c_ends_the_chat_while_people_are_in_it(serve, room, tmp_path):
    with serve(tmp_path) as chat:
        async with visit(chat, room, "Ann") as ann:
            await ann.say("/roll 2d6")
            await ann.hears("roll")
            chat.process.send_signal(signal.SIGINT)
            async with deadline("the socket closes"):
                await ann.connection.wait_closed()
        # That the process ends with 0 and has complained of nothing is checked where ``with serve`` ends.
        await asyncio.to_thread(chat.process.wait, DEADLINE)
