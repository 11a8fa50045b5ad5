// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";

import {HostileConsumer} from "./HostileConsumer.sol";

/// @notice Measures the gas that its callback starts with, as well as it can from inside.
contract GasMeter is HostileConsumer {
    uint256 public gasAtEntry;

    constructor(ICoprocessor coprocessor) HostileConsumer(coprocessor) {}

    function _misbehave() internal override {
        gasAtEntry = gasleft();
    }
}
