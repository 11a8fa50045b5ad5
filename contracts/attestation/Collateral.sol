// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice What is read of TCB info or a QE identity.
/// @param subject What it is about; see `Tee`.
/// @param content What quotes are compared with, packed.
struct CollateralText {
    uint256 subject;
    uint256 issueDate;
    uint256 nextUpdate;
    uint256 evaluationNumber;
    bytes content;
}

/// @title Tee
/// @notice Names the kinds of trusted execution environment as the headers of quotes do, and the subjects of
/// collateral.
library Tee {
    uint256 internal constant SGX = 0x00;
    uint256 internal constant TDX = 0x81;

    /// @return The subject of the TCB info for platforms of one model, in one environment.
    function platform(uint256 fmspc, uint256 pceId, uint256 tee) internal pure returns (uint256) {
        return fmspc << 24 | pceId << 8 | tee;
    }
}
