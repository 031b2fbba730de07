from pathlib import Path

import pytest

from tests.unit.data.data_fakes import DataSet
from tools_server.bundled import bundled_dir
from tools_server.skills.catalog import Catalog


@pytest.fixture(scope="session")
def catalog() -> Catalog:
    return Catalog([bundled_dir("skills")])


@pytest.fixture
def data(tmp_path: Path) -> DataSet:
    return DataSet(tmp_path / "data")
