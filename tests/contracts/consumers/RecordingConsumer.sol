// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {CoprocessorConsumer} from "contracts/consumer/CoprocessorConsumer.sol";
import {ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";
import {PoolId} from "contracts/types/Pool.sol";
import {ProgramId} from "contracts/types/Program.sol";
import {Outcome} from "contracts/types/Receipt.sol";
import {RequestId} from "contracts/types/Request.sol";

/// @notice Remembers every callback, and how much gas it came with.
contract RecordingConsumer is CoprocessorConsumer {
    uint256 public receipts;
    uint256 public expiries;
    RequestId public lastRequestId;
    Outcome public lastOutcome;
    bytes public lastOutput;

    constructor(ICoprocessor coprocessor) payable CoprocessorConsumer(coprocessor) {}

    receive() external payable {}

    function ask(ProgramId program, PoolId pool, bytes memory input, uint32 callbackGas, uint64 wait)
        external
        payable
        returns (RequestId)
    {
        return _request(program, pool, input, callbackGas, wait, msg.value);
    }

    function withdraw(address[] memory payees, address payable to) external returns (uint256) {
        return _withdrawRefunds(payees, to);
    }

    function _onReceipt(RequestId requestId, Outcome outcome, bytes calldata output) internal override {
        ++receipts;
        lastRequestId = requestId;
        lastOutcome = outcome;
        lastOutput = output;
    }

    function _onExpired(RequestId requestId) internal override {
        ++expiries;
        lastRequestId = requestId;
    }
}
