"""The real runtime, kept warm: one process carries out run after run without the seconds that imports take.

`python -m tests.warm SOCKET` is that process. `command(SOCKET)` is what $TUNESMITH_RUNTIME says to have a run carried
out by it; the client hands over its variables and its output, and ends as the run did.
"""

import json
import os
import shlex
import socket
import sys


def command(address: str) -> str:
    """Return the command line of a runtime that the process at `address` stands behind."""
    return shlex.join([sys.executable, "-S", __file__, address])


def ask(address: str) -> int:
    """Have a run carried out; return its exit code."""
    variables = {name: value for name, value in os.environ.items() if name.startswith("TUNESMITH_")}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(address)
        socket.send_fds(connection, [json.dumps(variables).encode()], [1, 2])
        return int(connection.recv(16) or 1)


def serve(address: str) -> None:
    """Carry out runs, one after another, until killed."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        from tunesmith_runtime.__main__ import main

        while True:
            connection, _ = listener.accept()
            with connection:
                message, output, _, _ = socket.recv_fds(connection, 65536, 2)
                os.environ |= json.loads(message)
                for standard, given in zip((1, 2), output, strict=True):
                    os.dup2(given, standard)
                    os.close(given)
                code = main()
                sys.stdout.flush()
                sys.stderr.flush()
                connection.send(str(code).encode())


if __name__ == "__main__":
    if __spec__ is not None:
        serve(sys.argv[1])
    else:
        sys.exit(ask(sys.argv[1]))
