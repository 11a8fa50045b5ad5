// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {EfficientHashLib} from "solady/utils/EfficientHashLib.sol";

import {RequestId} from "./Request.sol";

/// @notice How a job ended. Part of the receipt, so failures are as authentic as results.
/// @dev `None` is never valid. `TimedOut` and `Killed` depend on the machine: their receipts carry no fuel and
/// no program output. For every outcome but `Completed`, the output is a UTF-8 reason of at most 256 bytes.
enum Outcome {
    None,
    Completed,
    Trapped,
    OutOfFuel,
    OutOfMemory,
    TimedOut,
    OutputTooLarge,
    InvalidProgram,
    InputTooLarge,
    Denied,
    Killed
}

/// @notice The signed statement "this request ended so".
/// @param outputHash keccak256 of the output.
/// @param fuelUsed Deterministic cost of the run, in fuel.
/// @param payee Who earns the fee, whoever submits the receipt.
/// @param context Hash of what the run depended on besides program and input; zero if there was nothing. Today that is
/// what it fetched over HTTPS: EIP-712 `hashStruct` of `Context`, see docs/PROGRAMS.md. Proven, and not interpreted here.
struct Receipt {
    RequestId requestId;
    Outcome outcome;
    bytes32 outputHash;
    uint64 fuelUsed;
    address payee;
    bytes32 context;
}

using ReceiptLibrary for Receipt global;
using ReceiptLibrary for Outcome global;

/// @title ReceiptLibrary
/// @notice EIP-712 struct hashes of receipts. Mirrored by `oracle/types/receipt.py`.
/// @dev Program and input are committed to through the request id.
library ReceiptLibrary {
    bytes32 internal constant RECEIPT_TYPEHASH = keccak256(
        "Receipt(bytes32 requestId,uint8 outcome,bytes32 outputHash,uint64 fuelUsed,address payee,bytes32 context)"
    );
    bytes32 internal constant BATCH_TYPEHASH = keccak256(
        "ReceiptBatch(Receipt[] receipts)Receipt(bytes32 requestId,uint8 outcome,bytes32 outputHash,uint64 fuelUsed,address payee,bytes32 context)"
    );

    function structHash(Receipt calldata self) internal pure returns (bytes32) {
        return structHash(self.requestId, self.outcome, self.outputHash, self.fuelUsed, self.payee, self.context);
    }

    function structHash(
        RequestId requestId,
        Outcome outcome,
        bytes32 outputHash,
        uint64 fuelUsed,
        address payee,
        bytes32 context
    ) internal pure returns (bytes32) {
        return EfficientHashLib.hash(
            uint256(RECEIPT_TYPEHASH),
            uint256(RequestId.unwrap(requestId)),
            outcome.word(),
            uint256(outputHash),
            fuelUsed,
            uint160(payee),
            uint256(context)
        );
    }

    /// @return word_ The outcome's number. Unlike a conversion it is not checked again: an `Outcome` that was decoded
    /// or written as a literal is in range.
    function word(Outcome outcome) internal pure returns (uint256 word_) {
        assembly ("memory-safe") {
            word_ := outcome
        }
    }

    /// @param receiptHashes The struct hash of each receipt, in order.
    function batchStructHash(bytes32[] memory receiptHashes) internal pure returns (bytes32) {
        return keccak256(abi.encode(BATCH_TYPEHASH, keccak256(abi.encodePacked(receiptHashes))));
    }
}
