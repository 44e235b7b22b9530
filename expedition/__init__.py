"""What every room shares: the version and the error that a user can act on."""

from importlib import metadata

from expedition.errors import UserError

__all__ = ["UserError", "__version__"]

try:
    __version__ = metadata.version("expedition")
except metadata.PackageNotFoundError:  # imported from a checkout that was never installed
    __version__ = "0+unknown"
