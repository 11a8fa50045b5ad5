"""
What the client raises besides the errors of `oracle.errors`, `oracle.chain.errors` and `oracle.attestation.errors`.

    AttestationError
    └── ReceiptRefusedError             a receipt that does not convince; evidence behind it raises
        │                               `oracle.attestation.errors`: CollateralError, UntrustedRootError, PolicyError …
        ├── OtherChainError             signed for another chain
        ├── OtherCoprocessorError       signed for another contract
        ├── RequestMismatchError        the request id does not commit to program, input and terms as given
        ├── OutputMismatchError         the output is not the one that was signed
        ├── NotInBatchError             the receipt is not among those that were signed together
        ├── SignatureRefusedError       not canonical, or nobody's
        ├── OtherSignerError            made by another key than the one named
        ├── EvidenceMissingError        nothing vouches for the signer
        ├── SignerNotAttestedError      the quote is about other keys
        ├── UnknownMeasurementError     a build that is not trusted
        ├── OtherVerifierError          of a pool whose signers another contract names
        └── SignerNotLiveError          the registry does not count the signer now
    RetryableError
    ├── WaitTimeoutError                nothing has ended the request yet; wait again
    └── RequestOverdueError             nobody answered in time and nobody has expired it; call `expire`
    ChainError
    ├── RequestUnknownError             there is no such request: never made, or a reorganisation removed it
    ├── NoReceiptError                  the request has no receipt that can be read from the chain
    ├── EvidenceUnavailableError        the chain does not show what the signer registered with
    ├── ProgramNotPublishedError        no such program in the registry
    └── CursorLostError                 a stream cannot go on from there: that block left the chain
"""

from __future__ import annotations

from oracle.errors import AttestationError, ChainError, RetryableError


def _shown(value: object) -> str:
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)


class ReceiptRefusedError(AttestationError):
    """A receipt that does not convince. Most causes carry what was expected and what was found."""

    def __init__(self, message: str, expected: object = None, actual: object = None) -> None:
        super().__init__(message)
        self.expected = expected
        self.actual = actual


class OtherChainError(ReceiptRefusedError):
    """Signed for another chain."""

    def __init__(self, expected: int, actual: int) -> None:
        super().__init__(f"the receipt is of chain {actual}, not of chain {expected}", expected, actual)


class OtherCoprocessorError(ReceiptRefusedError):
    """Signed for another contract."""

    def __init__(self, expected: bytes, actual: bytes) -> None:
        what = f"the receipt is of the coprocessor {_shown(actual)}, not of {_shown(expected)}"
        super().__init__(what, expected, actual)


class RequestMismatchError(ReceiptRefusedError):
    """The id is not that of these fields."""

    def __init__(self, expected: bytes, actual: bytes) -> None:
        what = f"program, input and terms hash to the request {_shown(expected)}, the receipt is of {_shown(actual)}"
        super().__init__(what, expected, actual)


class OutputMismatchError(ReceiptRefusedError):
    """Another output than the signed one."""

    def __init__(self, expected: bytes, actual: bytes) -> None:
        what = f"the output hashes to {_shown(actual)}, the receipt says {_shown(expected)}"
        super().__init__(what, expected, actual)


class TranscriptMismatchError(ReceiptRefusedError):
    """Another transcript of what was fetched than the one that the receipt commits to."""

    def __init__(self, expected: bytes, actual: bytes) -> None:
        what = f"the transcript hashes to {_shown(actual)}, the receipt's context is {_shown(expected)}"
        super().__init__(what, expected, actual)


class NotInBatchError(ReceiptRefusedError):
    """Signed was a batch without this receipt."""

    def __init__(self) -> None:
        super().__init__("the receipt is not in the batch that was signed")


class SignatureRefusedError(ReceiptRefusedError):
    """Not a signature that an enclave makes."""


class OtherSignerError(ReceiptRefusedError):
    """Signed by another key, or signed were other fields."""

    def __init__(self, expected: bytes, actual: bytes) -> None:
        what = f"the signature is by {_shown(actual)}, not by the signer named, {_shown(expected)}"
        super().__init__(what, expected, actual)


class EvidenceMissingError(ReceiptRefusedError):
    """Nothing in the document vouches for the signer."""

    def __init__(self) -> None:
        super().__init__("the document carries no evidence for its signer, so it cannot be verified offline")


class SignerNotAttestedError(ReceiptRefusedError):
    """The quote is genuine, and about something else."""

    def __init__(self, expected: bytes, actual: bytes) -> None:
        what = f"the quote is not about this signer: it is over {_shown(actual)}, the registration hashes to "
        super().__init__(what + _shown(expected), expected, actual)


class UnknownMeasurementError(ReceiptRefusedError):
    """A build that the caller does not trust."""

    def __init__(self, trusted: frozenset[bytes], actual: bytes) -> None:
        state = "which is not among those that you trust" if trusted else "and you named none that you trust"
        super().__init__(f"the signer runs the build with the measurement {_shown(actual)}, {state}", trusted, actual)


class OtherVerifierError(ReceiptRefusedError):
    """Anybody can make a pool with a verifier of their own."""

    def __init__(self, expected: bytes, actual: bytes) -> None:
        what = f"the receipt is of a pool with the verifier {_shown(actual)}, not of yours, {_shown(expected)}"
        super().__init__(what, expected, actual)


class SignerNotLiveError(ReceiptRefusedError):
    """The registry does not count it."""

    def __init__(self, signer: bytes) -> None:
        super().__init__(f"{_shown(signer)} is not a live signer: never registered, expired or revoked", None, signer)


class WaitTimeoutError(RetryableError):
    """The request is still open, or its end not deep enough yet."""


class RequestOverdueError(RetryableError):
    """Its deadline has passed; the fee comes back to whoever asked once somebody calls `expire`."""


class RequestUnknownError(ChainError):
    """The chain knows no such request."""


class ProgramNotPublishedError(ChainError):
    """The registry knows no such program."""


class NoReceiptError(ChainError):
    """Open, expired, or settled through a contract whose calldata is not ours to read."""


class EvidenceUnavailableError(ChainError):
    """The registration cannot be read back from the chain."""


class CursorLostError(ChainError):
    """The block under the cursor is not in this chain any more, and where the histories part is not known."""
