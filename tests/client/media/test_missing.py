"""The library without the extra `video`: everything but calls, and a sentence that says what to install."""

from __future__ import annotations

import subprocess
import sys

WITHOUT = """
import importlib.util, sys
found = importlib.util.find_spec
hidden = {"aioice", "aiortc", "av", "numpy", "pylibsrtp"}
importlib.util.find_spec = lambda name, *rest: None if name in hidden else found(name, *rest)
for name in hidden:
    sys.modules[name] = None
import leeside.client, leeside.cli.root
leeside.cli.root.build()
from leeside.demo import call
assert not call.possible()
try:
    import leeside.media
except ImportError as error:
    print(error)
"""


def test_without_the_extra_the_library_and_its_commands_work_and_calls_say_what_they_need() -> None:
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, timeout=60, check=False
    )
    assert (told.returncode, told.stdout) == (
        0,
        "calls need more than the library itself: pip install 'leeside[video]'\n",
    ), told.stderr


def test_nothing_of_the_library_but_calls_brings_what_they_need() -> None:
    script = "import sys, leeside.client, leeside.cli.root; leeside.cli.root.build(); print({'av', 'aiortc'} & set(sys.modules))"
    told = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert told.stdout == "set()\n"
