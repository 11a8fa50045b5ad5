// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice How current a platform's trusted computing base is, in the vendor's words. Ordered from good to bad.
/// Mirrored by `oracle/types/attestation.py`.
enum TcbStatus {
    UpToDate,
    SWHardeningNeeded,
    ConfigurationNeeded,
    ConfigurationAndSWHardeningNeeded,
    OutOfDate,
    OutOfDateConfigurationNeeded,
    Revoked
}

using TcbStatusLibrary for TcbStatus global;

/// @title TcbStatusLibrary
/// @notice Combines what is said of several parts of one platform.
library TcbStatusLibrary {
    function isOutOfDate(TcbStatus self) internal pure returns (bool) {
        return self == TcbStatus.OutOfDate || self == TcbStatus.OutOfDateConfigurationNeeded;
    }

    /// @return The status of a platform of two parts: the worse one, after Intel's rules of convergence. An out of
    /// date part on a platform that needs configuration needs both.
    function merge(TcbStatus self, TcbStatus other) internal pure returns (TcbStatus) {
        TcbStatus worse = self > other ? self : other;
        TcbStatus better = self > other ? other : self;
        bool needsBoth = worse == TcbStatus.OutOfDate && better >= TcbStatus.ConfigurationNeeded
            && better <= TcbStatus.ConfigurationAndSWHardeningNeeded;
        return needsBoth ? TcbStatus.OutOfDateConfigurationNeeded : worse;
    }
}
