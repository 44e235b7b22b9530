"""What an old package asks for at its import, given to it for that moment alone."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import cast


@contextmanager
def known_as(modules: Mapping[str, ModuleType | None]) -> Iterator[None]:
    """Give other modules to whoever imports these names inside, and leave `sys.modules` as it was.

    Args:
        modules: by the name that is imported; None makes the import fail.
    """
    before = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(cast("Mapping[str, ModuleType]", modules))
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
        sys.modules.update(before)
