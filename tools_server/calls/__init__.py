"""The use cases: run a skill on one text or on many. MCP, the CLI and evaluations all come through here."""
