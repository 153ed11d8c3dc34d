"""Programs that packages of the test environment bring, whether or not that is on PATH."""

import os
import shutil
import sys
from pathlib import Path


def installed(name: str) -> str | None:
    """The program's path; None: it is not here."""
    beside = str(Path(sys.executable).parent)
    return shutil.which(name, path=os.pathsep.join((beside, os.environ.get("PATH", ""))))
