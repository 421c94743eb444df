"""Run the notebooks from top to bottom, each in a folder of its own that is then deleted.

    python docs/run_notebooks.py [OUT]

They are left as they are, without outputs. OUT is a folder for copies with outputs. Needs the
packages of ``pip install '.[docs]'``.
"""

import sys
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

FOLDER = Path(__file__).with_name("notebooks")
SECONDS = 180


def main(out: Path | None) -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            # Through sockets in this folder, and no ports.
            sockets = {"transport": "ipc", "ip": str(Path(folder, "kernel"))}
            NotebookClient(
                notebook,
                timeout=SECONDS,
                resources={"metadata": {"path": folder}},
                config=Config(AsyncKernelManager=sockets),
            ).execute()
        print(f"{path.name}: {time.perf_counter() - begin:.0f} s", flush=True)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            nbformat.write(notebook, out / path.name)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
