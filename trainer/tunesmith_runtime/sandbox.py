"""A process gives up the network for good, before it runs code that others wrote.

It holds wherever the process runs: on a cluster whose network enforces no policies, and on a laptop. It is a filter of
system calls (seccomp), which every thread and every process that it starts inherits, and which nothing can take off.
Sockets within the machine are left: processes that work together use them, such as those that run what a model writes,
and in a pod of its own there is nobody else to reach. What the code may read and write is for the pod to say; on a
laptop that is all that its user may.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from tunesmith_runtime.errors import ConfigError

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER = 1
# For all threads of the process, not just this one.
_FILTER_FLAG_TSYNC = 1
# Classic BPF: load a word of the call's description, jump if it equals, jump if any of the bits, return.
_LOAD, _IF_EQUAL, _IF_ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
# Calls of x32, a second set of numbers for the same calls.
_X32 = 0x40000000
_INSTRUCTION = struct.Struct("HBBI")


@dataclass(frozen=True)
class _Machine:
    """How a kernel calls an architecture, and the numbers there of seccomp(2), socket(2) and of what is refused."""

    audit: int
    seccomp: int
    socket: int
    refused: tuple[int, ...]


# Refused are io_uring_setup, which opens sockets without a call for it, and what reaches into other processes, which
# may have a network: ptrace, process_vm_writev, pidfd_getfd.
_MACHINES = {
    "x86_64": _Machine(0xC000003E, 317, 41, (425, 101, 311, 438)),
    "aarch64": _Machine(0xC00000B7, 277, 198, (425, 117, 271, 438)),
}


# Libraries that would look at the Hugging Face Hub say at once that they are not to; what the model writes may be run.
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_ALLOW_CODE_EVAL": "1"}


class SandboxError(ConfigError):
    """Code cannot be kept from the network on this machine."""


def enter() -> None:
    """Give up the network. Raises SandboxError where that cannot be."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        raise _failed(f"it knows no way to on {platform.machine()}")
    os.environ.update(_OFFLINE)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        raise _failed(os.strerror(ctypes.get_errno()))
    program = b"".join(_program(machine))
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: how many instructions, and where they are.
    described = struct.pack("HP", len(program) // _INSTRUCTION.size, ctypes.addressof(code))
    found = libc.syscall(machine.seccomp, _SET_MODE_FILTER, _FILTER_FLAG_TSYNC, described)
    if found != 0:  # above 0: the thread that could not take it
        raise _failed(os.strerror(ctypes.get_errno()) if found < 0 else f"thread {found} cannot take the filter")
    if not is_closed():
        raise _failed("a socket opens all the same")


def is_closed() -> bool:
    """Return whether this process has given up the network."""
    return _refusal() == errno.EACCES


def _refusal() -> int | None:
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM).close()
    except OSError as error:
        return error.errno
    return None


def _program(machine: _Machine) -> Iterator[bytes]:
    """Yield the filter's instructions. A jump passes over so many of those that follow, if it holds and if not."""
    yield _instruction(_LOAD, _ARCHITECTURE)
    yield _instruction(_IF_EQUAL, machine.audit, holds=1)
    yield _instruction(_RETURN, _KILL_PROCESS)  # calls of another architecture have other numbers
    yield _instruction(_LOAD, _NUMBER)
    count = len(machine.refused)
    yield _instruction(_IF_ANY_BIT, _X32, holds=count + 3)
    for index, number in enumerate(machine.refused, 1):
        yield _instruction(_IF_EQUAL, number, holds=count - index + 3)
    yield _instruction(_IF_EQUAL, machine.socket, fails=3)
    yield _instruction(_LOAD, _FIRST_ARGUMENT)
    yield _instruction(_IF_EQUAL, socket.AF_UNIX, holds=1)
    yield _instruction(_RETURN, _ERRNO | errno.EACCES)
    yield _instruction(_RETURN, _ALLOW)


def _instruction(code: int, operand: int, *, holds: int = 0, fails: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, holds, fails, operand)


def _failed(why: str) -> SandboxError:
    return SandboxError(
        f"this machine cannot keep code from the network ({why}), so that it is not run; drop suites with "
        "harness.runsCode, or evaluate on a Linux machine with seccomp"
    )
