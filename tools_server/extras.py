"""Packages of an extra, which are imported when they are used: how a missing one is told."""

__all__ = ["not_installed"]


def not_installed(error: ModuleNotFoundError, extra: str, what: str) -> tuple[str, str]:
    """Say that a package of an extra is missing: message and hint of the error to raise. `what` needs the package."""
    return (
        f"{what} needs the package {error.name}, which is not installed.",
        f"Install the extra: `pip install 'tools-server[{extra}]'`.",
    )
