// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Der} from "./Der.sol";
import {P256} from "./P256.sol";
import {Sha256} from "./Sha256.sol";

/// @title SignedDer
/// @notice Opens what X.509 wraps certificates and revocation lists into: content, algorithm, signature.
library SignedDer {
    using Der for bytes;

    /// @dev SEQUENCE { OBJECT IDENTIFIER ecdsa-with-SHA256 }, the only algorithm.
    bytes12 private constant ECDSA_WITH_SHA256 = 0x300a06082a8648ce3d040302;
    uint256 private constant ALGORITHM_BYTES = 12;

    error AlgorithmUnsupported(bytes12 algorithm);
    error SignatureWrong();

    /// @notice Checks that `der` is nothing but signed content, and that the key (x, y) signed it.
    /// @return start Where the content's first element begins.
    /// @return end Where the content ends.
    function open(bytes calldata der, uint256 x, uint256 y) internal view returns (uint256 start, uint256 end) {
        (uint256 pos, uint256 limit) = der.open(0, der.length, Der.SEQUENCE);
        require(limit == der.length, Der.DerMalformed(limit));
        (start, end) = der.open(pos, limit, Der.SEQUENCE);
        bytes32 hash = Sha256.ofSlice(der, pos, end);

        (uint256 bits, uint256 bitsEnd) = der.open(algorithm(der, end, limit), limit, Der.BIT_STRING);
        require(bitsEnd == limit && bitsEnd != bits && der[bits] == 0, Der.DerMalformed(bits));
        (uint256 pair, uint256 pairEnd) = der.open(bits + 1, bitsEnd, Der.SEQUENCE);
        require(pairEnd == bitsEnd, Der.DerMalformed(pair));
        (uint256 r, uint256 next) = der.unsigned(pair, pairEnd);
        (uint256 s, uint256 last) = der.unsigned(next, pairEnd);
        require(last == pairEnd, Der.DerMalformed(last));
        require(P256.isSignature(hash, r, s, x, y), SignatureWrong());
    }

    /// @notice Checks that the algorithm at `pos` is the only one.
    /// @return Where it ends.
    function algorithm(bytes calldata der, uint256 pos, uint256 limit) internal pure returns (uint256) {
        require(pos + ALGORITHM_BYTES <= limit, Der.DerMalformed(pos));
        bytes12 actual = bytes12(der[pos:pos + ALGORITHM_BYTES]);
        require(actual == ECDSA_WITH_SHA256, AlgorithmUnsupported(actual));
        return pos + ALGORITHM_BYTES;
    }
}
