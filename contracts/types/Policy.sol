// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {AdvisorySet} from "./AdvisorySet.sol";
import {TcbStatus} from "./TcbStatus.sol";

/// @notice Under which conditions enclaves of one build may register. Mirrored by `oracle/attestation/policy.py`.
/// @param acceptedStatuses Bit n accepts `TcbStatus` n. `Revoked` cannot be accepted.
/// @param gracePeriodS How long after it fell out of date a platform may still register, in seconds; counts only
/// if its status is accepted as well. The registration ends with it.
/// @param minimumEvaluationNumber The oldest evaluation of the vendor's that counts.
/// @param listedPlatformsOnly Whether the owner must have allowed the platform; else it must not have denied it.
/// @param acceptedAdvisories The advisories that may stand open, whatever the status.
struct Policy {
    uint8 acceptedStatuses;
    uint32 gracePeriodS;
    uint32 minimumEvaluationNumber;
    bool listedPlatformsOnly;
    AdvisorySet acceptedAdvisories;
}

using PolicyLibrary for Policy global;

/// @title PolicyLibrary
/// @notice Reads a `Policy`.
library PolicyLibrary {
    /// @dev All statuses but `Revoked`.
    uint8 internal constant ACCEPTABLE_STATUSES = uint8((1 << uint256(TcbStatus.Revoked)) - 1);

    /// @return Whether the policy can be meant: it accepts something, nothing unacceptable, and is well-formed.
    function isSound(Policy memory self) internal pure returns (bool) {
        return self.acceptedStatuses != 0 && self.acceptedStatuses & ~ACCEPTABLE_STATUSES == 0
            && self.acceptedAdvisories.isWellFormed();
    }

    function acceptsStatus(Policy memory self, TcbStatus status) internal pure returns (bool) {
        return self.acceptedStatuses >> uint256(status) & 1 != 0;
    }
}
