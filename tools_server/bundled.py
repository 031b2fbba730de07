"""Where the skills, model manifests and recipes that ship with tools-server lie: in the source tree or in the wheel."""

from pathlib import Path
from typing import Literal

from tools_server.errors import SettingsError

__all__ = ["bundled_dir"]

_PACKAGE = Path(__file__).parent


def bundled_dir(name: Literal["skills", "models", "datasets"], *, package: Path = _PACKAGE) -> Path:
    """Give the folder of bundled `skills`, `models` or `datasets`.

    A wheel carries them inside the package; a source tree (also an editable install) has them beside it.

    Raises:
        SettingsError: neither place has the folder, so this installation is incomplete.
    """
    installed = package / "bundled" / name
    if installed.is_dir():
        return installed
    source_tree = package.parent
    # A folder called `models` beside the package proves nothing by itself: in site-packages it could be anyone's.
    if (source_tree / "pyproject.toml").is_file() and (source_tree / name).is_dir():
        return source_tree / name
    raise SettingsError(
        f"The bundled {name} are missing: neither {installed} nor {source_tree / name} is part of this installation.",
        "Install tools-server again.",
    )
