// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {CoprocessorConsumer} from "contracts/consumer/CoprocessorConsumer.sol";
import {ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";
import {PoolId} from "contracts/types/Pool.sol";
import {ProgramId} from "contracts/types/Program.sol";
import {Outcome} from "contracts/types/Receipt.sol";
import {RequestId} from "contracts/types/Request.sol";

/// @notice The consumer that gas figures are measured with: 32 bytes in, and one word stored per callback.
contract GasConsumer is CoprocessorConsumer {
    ProgramId private immutable PROGRAM;
    PoolId private immutable POOL;

    bytes32 public answer;

    constructor(ICoprocessor coprocessor, ProgramId program, PoolId pool) CoprocessorConsumer(coprocessor) {
        PROGRAM = program;
        POOL = pool;
    }

    function ask(bytes32 question) external payable returns (RequestId) {
        return _request(PROGRAM, POOL, abi.encode(question), 100_000, 1 hours, msg.value);
    }

    function _onReceipt(RequestId, Outcome, bytes calldata output) internal override {
        answer = bytes32(output);
    }

    function _onExpired(RequestId requestId) internal override {
        answer = RequestId.unwrap(requestId);
    }
}
