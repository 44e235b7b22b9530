"""Build what the GPU check runs in: `python -m benchmarks.gpu.environment VENV WHEELS`, without network.

The virtual environment sees this interpreter's packages, so its torch is used, also where this interpreter
is itself one of a virtual environment, whose packages `--system-site-packages` would miss. What is not there
yet comes from the folder WHEELS, which `make gpu-wheels` fills elsewhere. Only Python itself is needed here.
"""

from __future__ import annotations

import site
import subprocess
import sys
import venv
from pathlib import Path

LIST = Path(__file__).with_name("wheels.txt")


def names() -> list[str]:
    """The packages in LIST."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def build(folder: Path, wheels: Path) -> None:
    """Make the environment, and install what is missing.

    Raises:
        CalledProcessError: pip found no wheel.
    """
    # Without pip: this interpreter's own installs there, and ensurepip is missing on some systems.
    venv.EnvBuilder(system_site_packages=True, with_pip=False).create(folder)
    python = folder / "bin" / "python"
    code = "import site; print(site.getsitepackages()[0])"
    own = subprocess.check_output([str(python), "-c", code], text=True).strip()
    Path(own, "machine.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-index"]
    subprocess.run([*command, "--find-links", str(wheels), "--no-deps", *names()], check=True)


def main() -> int:
    """Build it."""
    folder, wheels = map(Path, sys.argv[1:])
    if not wheels.is_dir():
        print(f"{wheels} is no folder: fill one by `make gpu-wheels` where there is a network.")
        return 2
    build(folder, wheels.resolve())
    return 0


if __name__ == "__main__":
    sys.exit(main())
