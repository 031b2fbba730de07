"""`python -m bench`."""

from bench.cli import main

if __name__ == "__main__":  # the quantiser's child process imports this module again
    main()
