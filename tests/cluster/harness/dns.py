"""Cluster DNS for a one-node test cluster: Services by their cluster IP, pods of headless ones by their own.

Standard library only, and kubectl to read Services and Endpoints.
"""

import argparse
import ipaddress
import json
import socketserver
import struct
import subprocess
import threading
import time
from typing import Any

DOMAIN = "svc.cluster.local"
REFRESH_SECONDS = 1.0
TTL_SECONDS = 5
ADDRESS_RECORD = 1
NO_SUCH_NAME = 3

Names = dict[str, list[str]]


def names_in(objects: list[dict[str, Any]]) -> Names:
    """Return the IPv4 addresses of every name that Services and their Endpoints make."""
    names: Names = {}
    headless = set()
    for each in objects:
        if each["kind"] == "Service":
            address = each["spec"].get("clusterIP")
            if address == "None":
                headless.add(_service(each))
            elif address:
                names[_service(each)] = [address]
    for each in objects:
        if each["kind"] == "Endpoints" and _service(each) in headless:
            for subset in each.get("subsets") or ():
                _add_pods(names, _service(each), subset)
    return names


def _add_pods(names: Names, service: str, subset: dict[str, Any]) -> None:
    ready, starting = (subset.get(kind) or () for kind in ("addresses", "notReadyAddresses"))
    for address in ready:
        names.setdefault(service, []).append(address["ip"])
    for address in (*ready, *starting):
        if hostname := address.get("hostname"):
            names.setdefault(f"{hostname}.{service}", []).append(address["ip"])


def _service(each: dict[str, Any]) -> str:
    return f"{each['metadata']['name']}.{each['metadata']['namespace']}.{DOMAIN}"


def answer(query: bytes, names: Names) -> bytes:
    """Return the response to a query with one question (RFC 1035), both as they go over the wire."""
    number, flags = struct.unpack("!HH", query[:4])
    labels, position = [], 12
    while length := query[position]:
        labels.append(query[position + 1 : position + 1 + length].decode("ascii", "replace").lower())
        position += 1 + length
    question = query[12 : position + 5]
    (kind,) = struct.unpack("!H", query[position + 1 : position + 3])
    known = names.get(".".join(labels))
    addresses = known if known and kind == ADDRESS_RECORD else []
    # A response, authoritative, with the client's wish for recursion; the name is a pointer to the question's.
    flags = 0x8400 | (flags & 0x0100) | (0 if known else NO_SUCH_NAME)
    records = b"".join(
        struct.pack("!HHHIH", 0xC00C, ADDRESS_RECORD, 1, TTL_SECONDS, 4) + ipaddress.IPv4Address(address).packed
        for address in addresses
    )
    return struct.pack("!HHHHHH", number, flags, 1, len(addresses), 0, 0) + question + records


class Zone:
    """The names of the cluster, as of a moment ago."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self.names: Names = {}

    def refresh_forever(self) -> None:
        """Read the names again and again; while the API server is away the last ones stand."""
        while True:
            try:
                read = subprocess.run(self._command, capture_output=True, timeout=20, check=True)
                self.names = names_in(json.loads(read.stdout)["items"])
            except (subprocess.SubprocessError, ValueError):
                pass
            time.sleep(REFRESH_SECONDS)


def main() -> None:
    """Answer on port 53 of an address, over UDP and TCP."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--kubeconfig", required=True)
    parser.add_argument("--kubectl", default="kubectl")
    options = parser.parse_args()
    zone = Zone([options.kubectl, "--kubeconfig", options.kubeconfig, "get", "services,endpoints", "-A", "-o", "json"])
    threading.Thread(target=zone.refresh_forever, daemon=True).start()

    class Datagrams(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            query, socket = self.request
            socket.sendto(answer(query, zone.names), self.client_address)

    class Connections(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            (length,) = struct.unpack("!H", self.request.recv(2))
            reply = answer(self.request.recv(length), zone.names)
            self.request.sendall(struct.pack("!H", len(reply)) + reply)

    socketserver.ThreadingTCPServer.allow_reuse_address = True
    over_tcp = socketserver.ThreadingTCPServer((options.listen, 53), Connections)
    threading.Thread(target=over_tcp.serve_forever, daemon=True).start()
    socketserver.ThreadingUDPServer((options.listen, 53), Datagrams).serve_forever()


if __name__ == "__main__":
    main()
