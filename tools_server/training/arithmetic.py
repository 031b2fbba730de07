"""In what type a training computes: what is faster on one CPU makes another one twenty times slower."""

from tools_server.training.base import Dtype, library

__all__ = ["arithmetic"]

_MULTIPLY_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")
"""Instructions for products of bfloat16, by torch's names: of x86-64 and of ARM64."""


def arithmetic(device: str) -> Dtype:
    """Give bfloat16 where the device has instructions for it, else float32.

    A CPU without them converts number by number (docs/experiments.md has figures). GPUs that torch supports have them.

    Raises:
        TrainingUnavailable: the extra `train` is not installed.
    """
    if device != "cpu":
        return "bfloat16"
    has = library("torch").cpu.get_capabilities()
    return "bfloat16" if any(has.get(name) for name in _MULTIPLY_BFLOAT16) else "float32"
