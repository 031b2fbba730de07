"""What `train` refuses before it loads anything."""

import pytest
from typer.testing import CliRunner

from tools_server.cli import app
from tools_server.errors import TrainingFailed


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        (["--kind", "qlora"], r"--kind 'qlora' is unknown\. Use lora or alora\."),
        (["--choose-by", "best"], r"--choose-by 'best' is unknown\. Use loss, right or last\."),
        (["--from", "shipped", "--rank", "4"], "--rank cannot be given with --from"),
    ],
)
def test_a_flag_that_means_nothing_is_refused_with_those_that_do(flags: list[str], what: str):
    with pytest.raises(TrainingFailed, match=what):
        CliRunner().invoke(app, ["train", "classify", *flags], catch_exceptions=False)
