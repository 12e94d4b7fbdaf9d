"""What somebody else's upstream may do beyond computing: nothing, unless the user says so."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NETWORK_TIMEOUT_S = 20.0  # s3prl waits for ever where packets vanish


@dataclass(frozen=True)
class Permissions:
    """`trust_checkpoint`: its checkpoint may run code; `download`: it may use the network."""

    trust_checkpoint: bool = False
    download: bool = False


NONE = Permissions()


class NetworkRefusedError(OSError):
    """Something tried to reach the network without `download`."""


@contextlib.contextmanager
def network(allowed: bool) -> Iterator[None]:
    """Inside, this process reaches other machines only if that is allowed, and waits no longer.

    "No longer" is `NETWORK_TIMEOUT_S`. Otherwise looking up a name or connecting raises
    `NetworkRefusedError`. huggingface_hub is told as well: s3prl's `hf_*` look a missing feature
    extractor up on the network, with many retries, even where the model is a local folder.
    """
    import huggingface_hub.constants as hub  # needed by transformers, which s3prl needs

    timeout, offline = socket.getdefaulttimeout(), hub.HF_HUB_OFFLINE
    lookup, connect = socket.getaddrinfo, socket.socket.connect

    def refuse(*args: Any, **options: Any) -> Any:
        raise NetworkRefusedError("the network is not to be used")

    def connect_locally(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6):
            refuse()
        connect(self, address)

    socket.setdefaulttimeout(NETWORK_TIMEOUT_S)
    hub.HF_HUB_OFFLINE = offline or not allowed
    if not allowed:
        socket.getaddrinfo = refuse
        socket.socket.connect = connect_locally  # type: ignore[assignment, method-assign]
    try:
        yield
    finally:
        socket.getaddrinfo = lookup
        socket.socket.connect = connect  # type: ignore[method-assign]
        hub.HF_HUB_OFFLINE = offline
        socket.setdefaulttimeout(timeout)
