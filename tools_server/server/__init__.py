"""The MCP server: skills as tools and resources, for clients of both protocol eras, over stdio.

It maps and it carries. It knows nothing of prompts, tokens or weights: one call goes to the skill runner, and what
comes back is put on the wire.
"""
