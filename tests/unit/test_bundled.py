import subprocess
import sys
from pathlib import Path

import pytest

from tools_server import bundled
from tools_server.bundled import bundled_dir
from tools_server.errors import SettingsError


def test_the_source_tree_gives_the_folders_beside_the_package():
    root = Path(bundled.__file__).parent.parent
    assert bundled_dir("models") == root / "models"
    assert bundled_dir("skills") == root / "skills"
    assert bundled_dir("datasets") == root / "datasets"


def test_an_installed_wheel_gives_the_folders_inside_the_package(tmp_path: Path):
    package = tmp_path / "site-packages" / "tools_server"
    (package / "bundled" / "models").mkdir(parents=True)
    (tmp_path / "site-packages" / "models").mkdir()  # somebody else's package
    assert bundled_dir("models", package=package) == package / "bundled" / "models"


def test_the_module_stays_importable_beside_the_folder_of_the_same_name(tmp_path: Path):
    package = tmp_path / "tools_server"
    (package / "bundled" / "models").mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "bundled.py"):
        (package / name).write_bytes((Path(bundled.__file__).parent / name).read_bytes())
    command = "from tools_server.bundled import bundled_dir; print(bundled_dir('models'))"
    done = subprocess.run([sys.executable, "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(package / "bundled" / "models")


def test_a_folder_of_that_name_in_site_packages_is_not_taken_for_ours(tmp_path: Path):
    package = tmp_path / "site-packages" / "tools_server"
    package.mkdir(parents=True)
    (tmp_path / "site-packages" / "models").mkdir()
    with pytest.raises(SettingsError, match="Install tools-server again"):
        bundled_dir("models", package=package)
