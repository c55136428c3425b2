"""Writes the image that every pod's sandbox runs: busybox, asleep. Usage: pause_image.py BUSYBOX ARCHIVE."""

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any


def main(busybox: Path, archive: Path) -> None:
    """Write a docker archive with one layer."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as files:
        _add(files, "bin/busybox", busybox.read_bytes(), mode=0o755)
        link = tarfile.TarInfo("bin/sleep")
        link.type, link.linkname = tarfile.SYMTYPE, "busybox"
        files.addfile(link)
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        "config": {"Entrypoint": ["/bin/sleep", "infinity"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": ["localhost/pause:1"], "Layers": ["layer.tar"]}]
    with tarfile.open(archive, "w") as image:
        _add(image, "manifest.json", _json(manifest))
        _add(image, "config.json", _json(config))
        _add(image, "layer.tar", layer.getvalue())


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
