// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Fixture} from "../Fixture.sol";
import {Ownable} from "solady/auth/Ownable.sol";

import {TwoStepOwnable} from "contracts/TwoStepOwnable.sol";
import {ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";
import {MeasurementId} from "contracts/types/Attestation.sol";

/// @notice C18: the owner's powers are these and no more, and they change hands in two steps.
contract OwnershipTest is Fixture {
    /// @dev C18.
    function testFuzz_ownerFunctions_notOwner_revert(address caller) public {
        vm.assume(caller != OWNER);
        vm.startPrank(caller);
        vm.expectRevert(Ownable.Unauthorized.selector);
        coprocessor.pause();
        vm.expectRevert(Ownable.Unauthorized.selector);
        coprocessor.unpause();
        vm.expectRevert(Ownable.Unauthorized.selector);
        coprocessor.approveMeasurement(MeasurementId.wrap(bytes32(uint256(1))), _policy());
        vm.expectRevert(Ownable.Unauthorized.selector);
        coprocessor.setPolicy(BUILD, _policy());
        vm.expectRevert(Ownable.Unauthorized.selector);
        coprocessor.allowPlatform(PLATFORM);
        vm.expectRevert(Ownable.Unauthorized.selector);
        coprocessor.denyPlatform(PLATFORM);
        vm.expectRevert(Ownable.Unauthorized.selector);
        coprocessor.forgetPlatform(PLATFORM);
        vm.expectRevert(Ownable.Unauthorized.selector);
        coprocessor.revokeMeasurement(BUILD);
        vm.expectRevert(Ownable.Unauthorized.selector);
        coprocessor.renounceOwnership();
        vm.expectRevert(Ownable.Unauthorized.selector);
        coprocessor.completeOwnershipHandover(caller);
    }

    function test_pause_byOwner_toggles() public {
        vm.startPrank(OWNER);
        vm.expectEmit(address(coprocessor));
        emit ICoprocessor.Paused();
        coprocessor.pause();
        assertTrue(coprocessor.paused());
        vm.expectEmit(address(coprocessor));
        emit ICoprocessor.Unpaused();
        coprocessor.unpause();
        assertFalse(coprocessor.paused());
    }

    /// @dev C2: pausing does not disturb the nonce beside it.
    function test_pause_byOwner_keepsNonce() public {
        coprocessor.request{value: MAX_FEE}(PROGRAM, pool, uint64(block.timestamp + 1), 0, "");
        vm.startPrank(OWNER);
        coprocessor.pause();
        coprocessor.unpause();
        assertEq(coprocessor.nonce(), 1);
    }

    /// @dev C18: handing over in one step is refused.
    function testFuzz_transferOwnership_byAnyone_reverts(address caller, address heir) public {
        vm.prank(caller);
        vm.expectRevert(TwoStepOwnable.OneStepTransferRefused.selector);
        coprocessor.transferOwnership(heir);
    }

    /// @dev C18.
    function testFuzz_ownership_requestedAndCompleted_changes(address heir) public {
        vm.assume(heir != address(0) && heir != OWNER);
        vm.prank(heir);
        coprocessor.requestOwnershipHandover();
        vm.prank(OWNER);
        coprocessor.completeOwnershipHandover(heir);
        assertEq(coprocessor.owner(), heir);
    }

    /// @dev C18.
    function test_ownership_notRequested_doesNotChange() public {
        vm.prank(OWNER);
        vm.expectRevert(Ownable.NoHandoverRequest.selector);
        coprocessor.completeOwnershipHandover(STRANGER);
        assertEq(coprocessor.owner(), OWNER);
    }
}
