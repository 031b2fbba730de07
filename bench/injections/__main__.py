"""`python -m bench.injections`."""

from bench.command import run
from bench.injections.cli import app

if __name__ == "__main__":
    run(app, "bench.injections")
