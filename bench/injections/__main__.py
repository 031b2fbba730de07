"""`python -m bench.injections`."""

from bench.injections.cli import main

if __name__ == "__main__":
    main()
