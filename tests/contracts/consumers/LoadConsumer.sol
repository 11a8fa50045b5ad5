// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {CoprocessorConsumer} from "contracts/consumer/CoprocessorConsumer.sol";
import {ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";
import {PoolId} from "contracts/types/Pool.sol";
import {ProgramId} from "contracts/types/Program.sol";
import {Outcome} from "contracts/types/Receipt.sol";
import {RequestId} from "contracts/types/Request.sol";

/// @notice The consumer that load is made with: many requests per transaction, and one word stored per callback.
contract LoadConsumer is CoprocessorConsumer {
    ProgramId private immutable PROGRAM;
    PoolId private immutable POOL;

    bytes32 public answer;

    constructor(ICoprocessor coprocessor, ProgramId program, PoolId pool) payable CoprocessorConsumer(coprocessor) {
        PROGRAM = program;
        POOL = pool;
    }

    /// @notice Makes `count` requests, each with 32 bytes of input of its own.
    function askMany(bytes32 seed, uint256 count, uint256 maxFee) external payable {
        for (uint256 i; i < count; ++i) {
            _request(PROGRAM, POOL, abi.encode(keccak256(abi.encode(seed, i))), 30_000, 1 hours, maxFee);
        }
    }

    function _onReceipt(RequestId, Outcome, bytes calldata output) internal override {
        answer = bytes32(output);
    }
}
