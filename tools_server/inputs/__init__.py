"""The inputs room: files that a caller names, read inside a sandbox, and long text split without losing a character."""
