"""
What can go wrong between us and a node.

    RetryableError
    ├── NodeUnreachableError    no answer, too late, or 5xx
    │   └── NodeBusyError       429 or the like; carries how long the node asks us to wait
    ├── ChainMovedError         a reorganisation happened while we read
    ├── NodeBehindError         the node does not have a block that it, or its neighbour, had before
    ├── NodeInconsistentError   a node's answers contradict each other: it lies, or moved while it answered
    │   └── LogsTruncatedError  eth_getLogs left out what the block itself says is there
    ├── NodesDisagreeError      too few nodes say the same
    ├── FeeTooHighError         gas costs more than the operator wants to pay now
    ├── RelayUnfundedError      the relay account cannot pay for the gas
    └── AccountHeldError        another process owns the relay account
    ChainError
    ├── NotANodeError           whatever answers at this URL does not speak Ethereum JSON-RPC
    ├── RpcError                the node's error object; carries (code, message, data)
    │   └── TooManyLogsError    eth_getLogs over a cap of the node or of ours: ask for a smaller span
    └── RevertedError           a call that the contract refuses; carries the name of its custom error
"""

from __future__ import annotations

from oracle.errors import ChainError, RetryableError


class NodeUnreachableError(RetryableError):
    """The node did not answer, or is too busy to."""


class NodeBusyError(NodeUnreachableError):
    """The node asks for fewer calls. `retry_after_s` None: it did not say for how long."""

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class ChainMovedError(RetryableError):
    """The chain was reorganised while it was read. Nothing was stored."""


class NodeBehindError(RetryableError):
    """The node lags behind what we have seen."""


class NodeInconsistentError(RetryableError):
    """What a node says does not fit together."""


class LogsTruncatedError(NodeInconsistentError):
    """A node left logs out. Asking for a smaller span may help."""


class NodesDisagreeError(RetryableError):
    """No answer was given by as many nodes as must agree."""


class FeeTooHighError(RetryableError):
    """The base fee is over the operator's cap."""


class RelayUnfundedError(RetryableError):
    """The relay account cannot pay."""


class AccountHeldError(RetryableError):
    """Another process owns the relay account, and its lease is not over."""


class NotANodeError(ChainError):
    """No Ethereum node at this URL."""


class RpcError(ChainError):
    """A JSON-RPC error object."""

    def __init__(self, method: str, code: int, message: str, data: bytes = b"") -> None:
        super().__init__(f"{method}: {message} (code {code})")
        self.method = method
        self.code = code
        self.message = message
        self.data = data


class TooManyLogsError(RpcError):
    """More logs than fit into one answer."""


class RevertedError(ChainError):
    """The contract refuses the call. `name` is its custom error, or the text it gave."""

    def __init__(self, name: str, arguments: tuple[object, ...] = ()) -> None:
        shown = ", ".join(f"0x{a.hex()}" if isinstance(a, bytes) else str(a) for a in arguments)
        super().__init__(f"the contract refuses: {name}({shown})")
        self.name = name
        self.arguments = arguments
