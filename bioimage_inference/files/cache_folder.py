"""The folder of this program in the cache of bioimage.io's programs: downloaded models, the newest list of them, and
validated descriptions.
"""

import os
from pathlib import Path

NO_CACHE = "/nonexistent/.cache"
"""The cache of users without a home folder. Debian gives this name to a home folder that must not exist."""
_OWN_FOLDER = "bioimage-inference"


def own_cache_folder() -> Path:
    """Return the folder, which may not exist. It is below the folder that ``bioimageio.spec`` has as ``cache_path``.

    An import of ``bioimageio.spec`` would take 0.9 s.
    """
    import platformdirs

    named = os.environ.get("BIOIMAGEIO_CACHE_PATH") or platformdirs.user_cache_dir("bioimageio")
    expanded = os.path.expanduser(named)  # noqa: PTH111  (Path.expanduser raises where there is no home)
    return Path(NO_CACHE if expanded.startswith("~") else expanded, _OWN_FOLDER)
