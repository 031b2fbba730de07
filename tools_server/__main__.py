"""`python -m tools_server` is `tools-server`."""

from tools_server.cli import main

if __name__ == "__main__":
    main()
