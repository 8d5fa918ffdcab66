"""Runs the examples of ``README.rst`` and ``docs/``: ``python -m pytest docs README.rst``.

Each document has a folder of its own, in which a reader's steps are repeated, top to bottom:

* ``.. code-block:: python`` is executed; the blocks of a document share their names.
* With ``:caption: some_file.py`` it is a file instead, written to the folder; a second block of that caption continues
  it. The blocks and commands that follow import it and run it.
* ``.. code-block:: console`` runs the commands behind ``$``, and compares their output with what is shown (``...``
  stands for anything; no output shown: none compared), and their exit status with 0. A backslash continues a line.
* ``.. code-block:: sh`` is not run: it installs something, or does not end.
"""

import ast
import doctest
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

try:
    from sybil import Example, Sybil
    from sybil.evaluators.python import PythonEvaluator
    from sybil.parsers.rest import CodeBlockParser, SkipParser
except ImportError:  # the tests in tests/ do without
    collect_ignore = ["docs", "README.rst"]
else:
    _HERE = Path(__file__).parent
    _BIN = Path(sys.executable).parent
    _COMMAND_SECONDS = 100
    _execute = PythonEvaluator()

    def _python(example: Example) -> None:
        caption = example.region.lexemes["options"].get("caption")
        if caption is None:
            _execute(example)
            return
        ast.parse(example.parsed, caption)
        file = Path(example.namespace["_folder"], caption)
        file.parent.mkdir(parents=True, exist_ok=True)
        before = file.read_text() + "\n\n" if file.exists() else ""
        file.write_text(before + example.parsed)
        sys.modules.pop(file.stem, None)
        importlib.invalidate_caches()

    def _console(example: Example) -> str | None:
        for part in ("\n" + example.parsed).split("\n$ ")[1:]:
            command, _, shown = part.replace("\\\n", "").partition("\n")
            done = subprocess.run(  # noqa: S602 - a reader types it into a shell, too
                command,
                shell=True,
                cwd=example.namespace["_folder"],
                env={**os.environ, "PATH": f"{_BIN}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(_HERE)},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_COMMAND_SECONDS,
                check=False,
            )
            if done.returncode:
                return f"$ {command}\nended with {done.returncode}\n{done.stdout}\n{done.stderr}"
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            if shown.strip() and not doctest.OutputChecker().check_output(shown, done.stdout, flags):
                return f"$ {command}\nexpected:\n{shown}\ngot:\n{done.stdout}\n{done.stderr}"
        return None

    def _enter(namespace: dict[str, object]) -> None:
        folder = tempfile.mkdtemp(prefix="docs-")
        namespace.update(_folder=folder, _modules=set(sys.modules), __name__="__main__")
        sys.path.insert(0, folder)

    def _leave(namespace: dict[str, object]) -> None:
        folder = str(namespace["_folder"])
        sys.path.remove(folder)
        for name in set(sys.modules) - namespace["_modules"]:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(folder):
                del sys.modules[name]
        shutil.rmtree(folder)

    pytest_collect_file = Sybil(
        parsers=[CodeBlockParser("python", _python), CodeBlockParser("console", _console), SkipParser()],
        patterns=["README.rst", "docs/*.rst", "docs/*/*.rst"],
        excludes=["*/README.rst"],
        setup=_enter,
        teardown=_leave,
    ).pytest()
