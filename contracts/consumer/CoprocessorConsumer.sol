// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICoprocessor} from "../interfaces/ICoprocessor.sol";
import {ICoprocessorConsumer} from "../interfaces/ICoprocessorConsumer.sol";
import {PoolId} from "../types/Pool.sol";
import {ProgramId} from "../types/Program.sol";
import {Outcome} from "../types/Receipt.sol";
import {RequestId} from "../types/Request.sol";

/// @title CoprocessorConsumer
/// @notice Base of contracts that ask the coprocessor for computations. Lets nobody else call back.
/// @dev What remains the heir's: remember which request id means what, and take only ids it asked for. The
/// coprocessor calls back for this contract's own requests only, each once, either `_onReceipt` or `_onExpired`.
abstract contract CoprocessorConsumer is ICoprocessorConsumer {
    ICoprocessor public immutable COPROCESSOR;

    error NotCoprocessor(address caller);

    modifier onlyCoprocessor() {
        if (msg.sender != address(COPROCESSOR)) revert NotCoprocessor(msg.sender);
        _;
    }

    constructor(ICoprocessor coprocessor) {
        COPROCESSOR = coprocessor;
    }

    /// @inheritdoc ICoprocessorConsumer
    function onReceipt(RequestId requestId, Outcome outcome, bytes calldata output) external onlyCoprocessor {
        _onReceipt(requestId, outcome, output);
    }

    /// @inheritdoc ICoprocessorConsumer
    function onExpired(RequestId requestId) external onlyCoprocessor {
        _onExpired(requestId);
    }

    /// @notice Asks for `programId` to be run on `input`; see `ICoprocessor.request`.
    /// @param maxFee Wei to escrow, whole gwei, out of this contract's balance. `COPROCESSOR.quote` says how much.
    /// @param wait Seconds from now in which a receipt is accepted.
    function _request(
        ProgramId programId,
        PoolId poolId,
        bytes memory input,
        uint32 callbackGas,
        uint64 wait,
        uint256 maxFee
    ) internal returns (RequestId) {
        return COPROCESSOR.request{value: maxFee}(programId, poolId, uint64(block.timestamp) + wait, callbackGas, input);
    }

    /// @notice Fetches what `payees` did not charge. Expired requests refund under the zero address.
    function _withdrawRefunds(address[] memory payees, address payable to) internal returns (uint256 amount) {
        return COPROCESSOR.withdrawRefunds(payees, to);
    }

    /// @param output The program's output if `outcome` is `Completed`, otherwise a short reason.
    function _onReceipt(RequestId requestId, Outcome outcome, bytes calldata output) internal virtual;

    /// @dev Runs with `EXPIRY_CALLBACK_GAS`. The fee has been refunded in full.
    function _onExpired(RequestId requestId) internal virtual {}
}
