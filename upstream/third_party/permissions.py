"""What somebody else's upstream may do beyond computing: nothing, unless the user says so."""

from __future__ import annotations

import contextlib
import socket
import sys
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
NO_NETWORK = "the network is not to be used"


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
        raise NetworkRefusedError(NO_NETWORK)

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


@contextlib.contextmanager
def guest(permissions: Permissions = NONE) -> Iterator[None]:
    """Inside runs code of others: as `network`, what it prints goes to stderr, and it ends nothing.

    torch's default type and whether it keeps gradients are as they were, afterwards.

    Raises:
        RuntimeError: it calls `sys.exit`.
    """
    import torch  # takes seconds, and whoever has such code has it

    dtype, gradients = torch.get_default_dtype(), torch.is_grad_enabled()
    try:
        with network(permissions.download), contextlib.redirect_stdout(sys.stderr):
            yield
    except SystemExit as error:
        raise RuntimeError(f"it ends the program, with {error.code}") from error
    finally:
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(gradients)


def refused(error: BaseException | None) -> bool:
    """Whether the network was asked for, without `download`, on the way to an error."""
    while error is not None:
        if isinstance(error, NetworkRefusedError) or NO_NETWORK in str(error):  # some wrap it
            return True
        error = error.__cause__ or error.__context__
    return False
