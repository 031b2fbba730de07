"""tools-server: one small open model on your machine, and skill folders that become typed tools for agents.

The package is an application; `tools_server.app.build_app` is its one composition root. The public surface for
Python code is the error tree and the settings; everything else is used through MCP or the command line.
"""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("tools-server")
