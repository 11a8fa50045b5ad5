// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {EfficientHashLib} from "solady/utils/EfficientHashLib.sol";

import {PoolId} from "./Pool.sol";
import {ProgramId} from "./Program.sol";

/// @notice Names a request: the hash of all its fields, the chain and the coprocessor.
type RequestId is bytes32;

/// @notice What the consumer agreed to, packed into the word that the request id commits to.
/// @dev Layout, high to low:
///
///     | zero 32 | nonce 64 | createdAt, unix s 64 | deadline, unix s 32 | callbackGas 24 | maxFee, gwei 40 |
type Terms is uint256;

/// @notice The one storage word of an open request; zero when the request is not open.
/// @dev Layout, high to low. The low 96 bits are those of `Terms`:
///
///     | consumer 160 | deadline, unix s 32 | callbackGas 24 | maxFee, gwei 40 |
type OpenRequest is uint256;

/// @param consumer The contract that asked, that is called back and that refunds belong to.
/// @param inputHash keccak256 of the input; the input itself is only in the log.
struct Request {
    address consumer;
    ProgramId programId;
    PoolId poolId;
    bytes32 inputHash;
    Terms terms;
}

using TermsLibrary for Terms global;
using OpenRequestLibrary for OpenRequest global;

/// @title RequestLibrary
/// @notice Computes request ids. Mirrored by `oracle/types/request.py`.
library RequestLibrary {
    /// @return The hash of abi.encode(chainId, coprocessor, Request): seven static words, so it is injective.
    function id(
        address consumer,
        ProgramId programId,
        PoolId poolId,
        bytes32 inputHash,
        Terms terms,
        uint256 chainId,
        address coprocessor
    ) internal pure returns (RequestId) {
        return RequestId.wrap(
            EfficientHashLib.hash(
                chainId,
                uint160(coprocessor),
                uint160(consumer),
                uint256(ProgramId.unwrap(programId)),
                uint256(PoolId.unwrap(poolId)),
                uint256(inputHash),
                Terms.unwrap(terms)
            )
        );
    }
}

/// @title TermsLibrary
/// @notice Packs and unpacks `Terms`.
library TermsLibrary {
    /// @dev Warning: checks nothing. The caller has made sure that every value fits its field.
    function pack(uint256 nonce_, uint256 createdAt_, uint256 deadline_, uint256 callbackGas_, uint256 maxFeeGwei_)
        internal
        pure
        returns (Terms)
    {
        return Terms.wrap(nonce_ << 160 | createdAt_ << 96 | deadline_ << 64 | callbackGas_ << 40 | maxFeeGwei_);
    }

    function nonce(Terms self) internal pure returns (uint64) {
        return uint64(Terms.unwrap(self) >> 160);
    }

    function createdAt(Terms self) internal pure returns (uint64) {
        return uint64(Terms.unwrap(self) >> 96);
    }

    function deadline(Terms self) internal pure returns (uint32) {
        return uint32(Terms.unwrap(self) >> 64);
    }

    function callbackGas(Terms self) internal pure returns (uint24) {
        return uint24(Terms.unwrap(self) >> 40);
    }

    function maxFeeGwei(Terms self) internal pure returns (uint40) {
        return uint40(Terms.unwrap(self));
    }

    /// @return The word to store while the request is open.
    function open(Terms self, address consumer) internal pure returns (OpenRequest) {
        return OpenRequest.wrap(uint256(uint160(consumer)) << 96 | uint96(Terms.unwrap(self)));
    }
}

/// @title OpenRequestLibrary
/// @notice Unpacks `OpenRequest`.
library OpenRequestLibrary {
    OpenRequest internal constant NOT_OPEN = OpenRequest.wrap(0);

    /// @dev The consumer is never the zero address, so an open request is never the zero word.
    function isOpen(OpenRequest self) internal pure returns (bool) {
        return OpenRequest.unwrap(self) != 0;
    }

    function consumer(OpenRequest self) internal pure returns (address) {
        return address(uint160(OpenRequest.unwrap(self) >> 96));
    }

    function deadline(OpenRequest self) internal pure returns (uint256) {
        return uint32(OpenRequest.unwrap(self) >> 64);
    }

    function callbackGas(OpenRequest self) internal pure returns (uint256) {
        return uint24(OpenRequest.unwrap(self) >> 40);
    }

    /// @return The escrowed fee in wei.
    function maxFee(OpenRequest self) internal pure returns (uint256) {
        unchecked {
            return uint256(uint40(OpenRequest.unwrap(self))) * 1 gwei;
        }
    }
}
