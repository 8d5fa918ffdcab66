"""Channels' ``WebsocketCommunicator`` and ``ApplicationCommunicator`` work with our layer."""

import sys
import uuid
from pathlib import Path


def test_the_communicator_suite_passes(run_python):
    # In a process of its own: Django can be configured once per process, and the other tests of this session show that
    # the package works where Django is not configured at all.
    suite = Path(__file__).with_name("communicator_suite.py")
    # Under -O, pytest warns of asserts that it did not rewrite; those of the suite it did.
    quiet = ["-W", "ignore::pytest.PytestConfigWarning"] if sys.flags.optimize else []
    ended = run_python(
        *("-m", "pytest", "--noconftest", "-p", "no:cacheprovider", *quiet, str(suite)),
        DJANGO_SETTINGS_MODULE="project.settings",
        CHAT_PREFIX=f"test-{uuid.uuid4().hex}",
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
