"""The board's installer as one file, which bundles carry and ssh sends: a zip that Python runs."""

import functools
from pathlib import Path

from targets.archives import stored_zip
from targets.board import installer

APPLICATION = "install.pyz"
# Refuses in the installer's way what could not even read the modules.
_MAIN = b"""\
import sys

if sys.version_info < (3, 7):
    error = "Python %d.%d is too old; edge-se needs 3.10 or later" % sys.version_info[:2]
    print('{\\n  "error": "%s"\\n}' % error)
    sys.exit(3)

from installer.command_line import main

sys.exit(main())
"""


@functools.cache
def application() -> bytes:
    """The zip application, of `targets.board.installer`; the same sources give the same bytes."""
    modules = sorted(Path(installer.__file__).parent.glob("*.py"))
    files = {f"installer/{module.name}": module.read_bytes() for module in modules}
    return b"#!/usr/bin/env python3\n" + stored_zip({"__main__.py": _MAIN, **files})
