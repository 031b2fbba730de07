"""A training run in a process of its own, to be killed: `run_once.py SETTINGS.json FOLDER resume|anew`."""

import json
import sys
from pathlib import Path

from tools_server.settings import load_settings
from tools_server.skills.catalog import Catalog, standard_dirs
from tools_server.training import loop
from tools_server.training.sources import gather_data, parse_source
from tools_server.training.train import Options, run_training
from tools_server.training.types import Hyperparameters, Progress

QUICK = Hyperparameters(
    rank=4, batch_samples=8, rows=4, row_tokens=128, epochs=1, evaluations=2, learning_rate=2e-3, dropout=0.2
)


def told(at: Progress) -> None:
    print(f"step {at.step}", flush=True)


def main() -> None:
    flags, folder, mode = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), sys.argv[3]
    loop.CHECKPOINT_S = 0.0  # after every step
    settings = load_settings(flags)
    skill = Catalog(standard_dirs(settings)).get("colour")
    data = gather_data(skill, [parse_source(flags["skills_dirs"][0] + "/samples.jsonl")], [], settings, seed=0)
    options = Options(folder=folder, resume=mode == "resume")
    outcome = run_training(skill, data, settings, QUICK, options, told=told, said=lambda _: None)
    print(f"sha256 {outcome.version.provenance.sha256}", flush=True)


if __name__ == "__main__":
    main()
