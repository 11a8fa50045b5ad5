// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";

import {AdvisorySet, AdvisorySetLibrary} from "contracts/types/AdvisorySet.sol";
import {TcbStatus} from "contracts/types/TcbStatus.sol";

/// @notice A1, A2: how statuses merge, and sets of advisories join.
contract TcbTypesTest is Test {
    function _set(uint16[] memory numbers) private pure returns (AdvisorySet set) {
        for (uint256 i; i < numbers.length; ++i) {
            if (numbers[i] != 0) set = set.union(AdvisorySet.wrap(numbers[i]));
        }
    }

    function _shorten(uint16[] memory numbers) private pure {
        if (numbers.length > 8) {
            assembly ("memory-safe") {
                mstore(numbers, 8)
            }
        }
    }

    function _holds(AdvisorySet set, uint16 number) private pure returns (bool) {
        for (uint256 rest = AdvisorySet.unwrap(set); rest != 0; rest >>= 16) {
            if (uint16(rest) == number) return true;
        }
        return false;
    }

    /// @dev A1: the merged status is never better than either, in any order.
    function testFuzz_merge_anyTwo_neverBetter(uint8 a, uint8 b) public pure {
        TcbStatus one = TcbStatus(bound(a, 0, 6));
        TcbStatus two = TcbStatus(bound(b, 0, 6));
        TcbStatus merged = one.merge(two);
        assertTrue(merged >= one && merged >= two);
        assertTrue(merged == two.merge(one));
        assertTrue(merged != TcbStatus.Revoked || one == TcbStatus.Revoked || two == TcbStatus.Revoked);
    }

    /// @dev A1: Intel's rules of convergence.
    function test_merge_outOfDatePart_asIntelConverges() public pure {
        TcbStatus old = TcbStatus.OutOfDate;
        TcbStatus both = TcbStatus.OutOfDateConfigurationNeeded;
        assertTrue(TcbStatus.UpToDate.merge(old) == old);
        assertTrue(TcbStatus.SWHardeningNeeded.merge(old) == old);
        assertTrue(TcbStatus.ConfigurationNeeded.merge(old) == both);
        assertTrue(TcbStatus.ConfigurationAndSWHardeningNeeded.merge(old) == both);
        assertTrue(TcbStatus.Revoked.merge(old) == TcbStatus.Revoked);
    }

    /// @dev A2: a union holds exactly the members of both, and stays well-formed.
    function testFuzz_union_anyTwo_holdsBoth(uint16[] memory a, uint16[] memory b, uint16 stranger) public pure {
        _shorten(a);
        _shorten(b);
        (AdvisorySet one, AdvisorySet two) = (_set(a), _set(b));
        AdvisorySet all = one.union(two);
        assertTrue(all.isWellFormed());
        assertTrue(one.isSubsetOf(all) && two.isSubsetOf(all));
        if (stranger != 0) assertEq(_holds(all, stranger), _holds(one, stranger) || _holds(two, stranger));
    }

    /// @dev A2.
    function testFuzz_isSubsetOf_strangerInIt_false(uint16[] memory a, uint16 stranger) public pure {
        _shorten(a);
        AdvisorySet one = _set(a);
        vm.assume(stranger != 0 && !_holds(one, stranger));
        assertFalse(one.union(AdvisorySet.wrap(stranger)).isSubsetOf(one));
    }

    /// @dev A2: what does not fit into a word is refused, not dropped.
    function test_union_moreThan16_reverts() public {
        uint256 full;
        for (uint256 i; i < 16; ++i) {
            full |= (i + 1) << (16 * i);
        }
        assertTrue(AdvisorySet.wrap(full).isWellFormed());
        assertEq(AdvisorySet.unwrap(AdvisorySet.wrap(full).union(AdvisorySet.wrap(7))), full);
        vm.expectRevert(AdvisorySetLibrary.TooManyAdvisories.selector);
        this.union(full, 17);
    }

    function union(uint256 a, uint256 b) external pure returns (AdvisorySet) {
        return AdvisorySet.wrap(a).union(AdvisorySet.wrap(b));
    }
}
