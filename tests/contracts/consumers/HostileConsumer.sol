// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";
import {ICoprocessorConsumer} from "contracts/interfaces/ICoprocessorConsumer.sol";
import {PoolId} from "contracts/types/Pool.sol";
import {ProgramId} from "contracts/types/Program.sol";
import {Outcome} from "contracts/types/Receipt.sol";
import {RequestId} from "contracts/types/Request.sol";

/// @notice Asks like any consumer; what it does when called back is the heir's mischief.
abstract contract HostileConsumer is ICoprocessorConsumer {
    ICoprocessor internal immutable COPROCESSOR;

    constructor(ICoprocessor coprocessor) {
        COPROCESSOR = coprocessor;
    }

    receive() external payable virtual {}

    function ask(ProgramId program, PoolId pool, bytes memory input, uint32 callbackGas, uint64 wait)
        external
        payable
        returns (RequestId)
    {
        return COPROCESSOR.request{value: msg.value}(program, pool, uint64(block.timestamp + wait), callbackGas, input);
    }

    function onReceipt(RequestId, Outcome, bytes calldata) external {
        _misbehave();
    }

    function onExpired(RequestId) external {
        _misbehave();
    }

    function _misbehave() internal virtual;
}
