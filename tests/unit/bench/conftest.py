import pytest

from bench.skills import write_digest
from tools_server.bundled import bundled_dir
from tools_server.skills.catalog import Catalog


@pytest.fixture(scope="session")
def plain_catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    """The skills of the rows without adapters."""
    folder = tmp_path_factory.mktemp("skills")
    write_digest(folder)
    return Catalog([bundled_dir("skills"), folder])
