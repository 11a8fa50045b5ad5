// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @title IReceiptVerifier
/// @notice The seam behind which a receipt is proven: by an enclave's signature now, by a committee, a proof
/// system or an accumulator later. A pool names its verifier in its id.
interface IReceiptVerifier {
    /// @notice Says whether `proof` proves the receipt, or batch of receipts, that hashes to `digest`.
    /// @dev Called as a view, so a verifier cannot re-enter. What the digest means is the caller's matter: the
    /// verifier knows nothing of requests, deadlines or money, and does not prevent replay.
    /// @param digest EIP-712 digest, already bound to chain and coprocessor.
    /// @return True if proven. An implementation may instead revert with an error that names the cause.
    function verify(bytes32 digest, bytes calldata proof) external view returns (bool);
}
