"""The engine host: one process per user and model that holds the engine, and what the other processes reach it with.

Plain JSON over HTTP on a Unix socket that only its user can open. `wire` is what is said, `server` and `process` are
the host, `client` is the engine as a front end sees it, `lifecycle` finds, starts, replaces and stops hosts.
"""
