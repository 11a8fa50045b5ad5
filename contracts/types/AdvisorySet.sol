// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice Up to 16 security advisories, by number (INTEL-SA-00615 is 615), in one word.
/// @dev Layout, high to low: unused numbers are zero, and the others ascend from the low end.
///
///     | 16th 16 | ... | second smallest 16 | smallest 16 |
type AdvisorySet is uint256;

using AdvisorySetLibrary for AdvisorySet global;

/// @title AdvisorySetLibrary
/// @notice Joins and compares sets of advisories.
library AdvisorySetLibrary {
    AdvisorySet internal constant EMPTY = AdvisorySet.wrap(0);
    uint256 private constant BITS = 16;
    uint256 private constant NUMBER = type(uint16).max;

    error TooManyAdvisories();

    /// @return Whether the numbers ascend from the low end, without gaps.
    function isWellFormed(AdvisorySet self) internal pure returns (bool) {
        uint256 previous;
        for (uint256 rest = AdvisorySet.unwrap(self); rest != 0; rest >>= BITS) {
            uint256 number = rest & NUMBER;
            if (number <= previous) return false;
            previous = number;
        }
        return true;
    }

    /// @dev Both must be well-formed.
    function isSubsetOf(AdvisorySet self, AdvisorySet other) internal pure returns (bool) {
        uint256 rest = AdvisorySet.unwrap(self);
        for (uint256 allowed = AdvisorySet.unwrap(other); rest != 0 && allowed != 0; allowed >>= BITS) {
            if (rest & NUMBER == allowed & NUMBER) rest >>= BITS;
        }
        return rest == 0;
    }

    /// @dev Both must be well-formed; reverts if the union is larger than 16.
    function union(AdvisorySet self, AdvisorySet other) internal pure returns (AdvisorySet all) {
        bool fits;
        (all, fits) = tryUnion(self, other);
        require(fits, TooManyAdvisories());
    }

    /// @return all The union, if it fits.
    /// @return fits Whether it has at most 16 members.
    function tryUnion(AdvisorySet self, AdvisorySet other) internal pure returns (AdvisorySet all, bool fits) {
        uint256 a = AdvisorySet.unwrap(self);
        uint256 b = AdvisorySet.unwrap(other);
        if (b == 0) return (self, true);
        if (a == 0) return (other, true);
        uint256 merged;
        for (uint256 shift; a | b != 0; shift += BITS) {
            if (shift == 256) return (EMPTY, false);
            uint256 x = a & NUMBER;
            uint256 y = b & NUMBER;
            uint256 smaller = y == 0 || (x != 0 && x < y) ? x : y;
            if (x == smaller) a >>= BITS;
            if (y == smaller) b >>= BITS;
            merged |= smaller << shift;
        }
        return (AdvisorySet.wrap(merged), true);
    }
}
