// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Outcome} from "../types/Receipt.sol";
import {RequestId} from "../types/Request.sol";

/// @title ICoprocessorConsumer
/// @notice What a contract implements to be called back. `CoprocessorConsumer` does it with the guard in place.
/// @dev Warning: an implementation must check that the caller is the coprocessor. Reverting changes nothing for
/// the coprocessor: the request is settled all the same and nothing is called a second time.
interface ICoprocessorConsumer {
    /// @notice Delivers a proven receipt. Gets exactly the callback gas that the request asked for.
    /// @param output The program's output if `outcome` is `Completed`, otherwise a short reason in UTF-8.
    function onReceipt(RequestId requestId, Outcome outcome, bytes calldata output) external;

    /// @notice Says that nobody answered in time and that the whole fee was refunded. Gets exactly
    /// `EXPIRY_CALLBACK_GAS`.
    function onExpired(RequestId requestId) external;
}
