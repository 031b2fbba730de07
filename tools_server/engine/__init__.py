"""The engine: batching, prefix reuse, adapters and constraints over one small model.

It knows tokens, adapters and constraints, and nothing about skills, files or MCP.
"""
