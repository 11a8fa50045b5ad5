// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Ownable} from "solady/auth/Ownable.sol";

/// @title TwoStepOwnable
/// @notice Solady's `Ownable`, less the transfer in one step: a new owner asks with `requestOwnershipHandover`,
/// and within 48 hours the old one agrees with `completeOwnershipHandover`. A typing error cannot give the
/// contract away.
abstract contract TwoStepOwnable is Ownable {
    error OneStepTransferRefused();

    function transferOwnership(address) public payable override {
        revert OneStepTransferRefused();
    }

    function _guardInitializeOwner() internal pure override returns (bool) {
        return true;
    }
}
