"""Benchmarks: the engine beside a bare `llama_decode` loop, and a classify call beside Outlines on `llama_cpp.Llama`.

`make bench` (or `python -m bench`) prints ratios against baselines that ran in the same minutes. Nothing here is
asserted in a test: machines are shared and noisy.
"""

# First: it sets OMP_WAIT_POLICY, which OpenMP reads once, before anything else loads llama_cpp.
import tools_server.engine.llama  # noqa: F401
