"""Tuning: which weight format and engine settings are fastest for one model on this machine, and still as good.

Candidates are measured in a child process, and answer evaluation samples through the same `SkillRunner` as a client's
call. Knows nothing of MCP or the terminal.
"""
