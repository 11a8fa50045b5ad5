// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Fixture} from "../Fixture.sol";

import {Enclave, IEnclaveRegistry, PlatformStanding} from "contracts/interfaces/IEnclaveRegistry.sol";
import {AdvisorySet} from "contracts/types/AdvisorySet.sol";
import {Attestation, MeasurementId} from "contracts/types/Attestation.sol";
import {Policy} from "contracts/types/Policy.sol";
import {TcbStatus} from "contracts/types/TcbStatus.sol";

/// @notice What the owner may demand of builds and platforms, as every implementation of `IEnclaveRegistry` must obey
/// it: run below on the standalone registry and on the one that the coprocessor is.
abstract contract EnclavePolicySuite is Fixture {
    uint256 private constant OTHER_KEY = uint256(keccak256("adyton other signer"));
    bytes32 private constant OTHER_PLATFORM = keccak256("adyton other platform");
    MeasurementId private constant OTHER_BUILD = MeasurementId.wrap(keccak256("adyton other build"));
    address private immutable OTHER = vm.addr(OTHER_KEY);

    function _refuse(bytes memory cause) private {
        Attestation memory attestation = _other();
        vm.expectRevert(cause);
        _registerWith(attestation);
    }

    function _registerWith(Attestation memory attestation) private {
        registry.register(OTHER, SEALING_KEY, OPERATOR, vm.getBlockNumber() - 1, abi.encode(attestation));
    }

    function _other() private view returns (Attestation memory) {
        return _attestation(OTHER, BUILD, type(uint64).max);
    }

    function _set(Policy memory policy) private {
        vm.prank(OWNER);
        registry.setPolicy(BUILD, policy);
    }

    function _verify(uint256 key) private view returns (bool) {
        return registry.verify(keccak256("digest"), _sign(key, keccak256("digest")));
    }

    function _assertDead(address signer, uint256 key, bytes memory cause) private {
        assertFalse(registry.isLive(signer));
        assertFalse(registry.enclave(signer).live);
        vm.expectRevert(cause);
        _verify(key);
    }

    /* ------------------------------------------------- status ------------------------------------------------ */

    /// @dev E10: a status registers exactly if the policy accepts it.
    function testFuzz_register_status_acceptedByPolicyOnly(uint8 status, uint8 accepted) public {
        status = uint8(bound(status, 0, uint8(TcbStatus.Revoked)));
        Policy memory policy = _policy();
        policy.acceptedStatuses = uint8(bound(accepted, 1, 63));
        policy.gracePeriodS = 1 days;
        _set(policy);
        Attestation memory attestation = _other();
        attestation.status = TcbStatus(status);
        attestation.outOfDateSince = uint64(vm.getBlockTimestamp());
        bool accepts = policy.acceptedStatuses & (1 << status) != 0;
        if (!accepts) {
            vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.StatusNotAccepted.selector, status));
        }
        _registerWith(attestation);
        assertEq(registry.isLive(OTHER), accepts);
    }

    /// @dev E10: what is out of date registers within the grace period only, and not beyond it.
    function testFuzz_register_outOfDate_withinGraceOnly(uint32 grace, uint32 age, bool configuration) public {
        grace = uint32(bound(grace, 0, 60 days));
        age = uint32(bound(age, 0, 60 days));
        Policy memory policy = _policy();
        policy.acceptedStatuses = _accept(TcbStatus.OutOfDate) | _accept(TcbStatus.OutOfDateConfigurationNeeded);
        policy.gracePeriodS = grace;
        _set(policy);
        Attestation memory attestation = _other();
        attestation.status = configuration ? TcbStatus.OutOfDateConfigurationNeeded : TcbStatus.OutOfDate;
        attestation.outOfDateSince = uint64(vm.getBlockTimestamp() - age);
        uint64 end = attestation.outOfDateSince + grace;
        if (age > grace) {
            vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.GracePeriodOver.selector, end));
            _registerWith(attestation);
            return;
        }
        _registerWith(attestation);
        assertLe(registry.enclave(OTHER).liveUntil, end);
    }

    /// @dev E10: a grace period never prolongs what is up to date, nor shortens it.
    function test_register_upToDate_graceDoesNotCount() public {
        Policy memory policy = _policy();
        policy.gracePeriodS = 1;
        _set(policy);
        _registerWith(_other());
        assertEq(registry.enclave(OTHER).liveUntil, vm.getBlockTimestamp() + registry.MAX_AGE());
    }

    /// @dev E10.
    function testFuzz_register_evaluationNumber_minimumEnforced(uint32 minimum, uint32 actual) public {
        Policy memory policy = _policy();
        policy.minimumEvaluationNumber = minimum;
        _set(policy);
        Attestation memory attestation = _other();
        attestation.evaluationNumber = actual;
        if (actual < minimum) {
            vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.EvaluationNumberTooLow.selector, minimum, actual));
        }
        _registerWith(attestation);
    }

    /// @dev E10: every open advisory must be accepted, even of a platform that is up to date.
    function testFuzz_register_advisories_allMustBeAccepted(uint16 one, uint16 two, bool acceptsBoth) public {
        one = uint16(bound(one, 1, 65_534));
        two = uint16(bound(two, one + 1, 65_535));
        Policy memory policy = _policy();
        policy.acceptedAdvisories = _advisories(acceptsBoth ? uint256(two) << 16 | one : two);
        _set(policy);
        Attestation memory attestation = _other();
        attestation.advisories = _advisories(uint256(two) << 16 | one);
        if (!acceptsBoth) {
            vm.expectRevert(
                abi.encodeWithSelector(
                    IEnclaveRegistry.AdvisoryNotAccepted.selector, policy.acceptedAdvisories, attestation.advisories
                )
            );
        }
        _registerWith(attestation);
    }

    /* ------------------------------------------------- policy ------------------------------------------------ */

    /// @dev E10: a policy that accepts nothing, or the revoked, or is malformed, is none.
    function testFuzz_setPolicy_unsound_reverts(uint8 statuses, uint16 number) public {
        Policy memory policy = _policy();
        vm.startPrank(OWNER);
        policy.acceptedStatuses = uint8(bound(statuses, 64, 255));
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.PolicyUnsound.selector, policy));
        registry.setPolicy(BUILD, policy);
        policy.acceptedStatuses = 0;
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.PolicyUnsound.selector, policy));
        registry.approveMeasurement(OTHER_BUILD, policy);
        policy = _policy();
        policy.acceptedAdvisories = _advisories(uint256(number) << 16 | number | 1 << 32);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.PolicyUnsound.selector, policy));
        registry.setPolicy(BUILD, policy);
    }

    /// @dev E11: a new policy is for registrations to come.
    function test_setPolicy_stricter_liveKeysLiveOn() public {
        Policy memory policy = _policy();
        policy.acceptedStatuses = _accept(TcbStatus.SWHardeningNeeded);
        policy.listedPlatformsOnly = true;
        vm.expectEmit(address(registry));
        emit IEnclaveRegistry.PolicySet(BUILD, policy);
        _set(policy);
        assertEq(abi.encode(registry.policyOf(BUILD)), abi.encode(policy));
        assertTrue(_verify(SIGNER_KEY));
        _refuse(abi.encodeWithSelector(IEnclaveRegistry.StatusNotAccepted.selector, TcbStatus.UpToDate));
    }

    function test_policy_unapprovedBuild_reverts() public {
        bytes memory cause = abi.encodeWithSelector(IEnclaveRegistry.MeasurementNotApproved.selector, OTHER_BUILD);
        vm.expectRevert(cause);
        registry.policyOf(OTHER_BUILD);
        vm.prank(OWNER);
        vm.expectRevert(cause);
        registry.setPolicy(OTHER_BUILD, _policy());
    }

    /* ------------------------------------------------ platforms ---------------------------------------------- */

    /// @dev E12: a denied platform's keys are dead at once, and it registers none.
    function test_denyPlatform_keysDieAtOnce() public {
        vm.expectEmit(address(registry));
        emit IEnclaveRegistry.PlatformDenied(PLATFORM);
        vm.prank(OWNER);
        registry.denyPlatform(PLATFORM);
        assertEq(uint8(registry.standingOf(PLATFORM)), uint8(PlatformStanding.Denied));
        _assertDead(SIGNER, SIGNER_KEY, abi.encodeWithSelector(IEnclaveRegistry.PlatformWithdrawn.selector, PLATFORM));
        _refuse(
            abi.encodeWithSelector(IEnclaveRegistry.PlatformNotAccepted.selector, PLATFORM, PlatformStanding.Denied)
        );
    }

    /// @dev E12: another platform's keys live on, also by the slow path, and renewing leads back to the fast one.
    function test_denyPlatform_otherPlatform_unharmed() public {
        vm.prank(OWNER);
        registry.denyPlatform(OTHER_PLATFORM);
        assertTrue(_verify(SIGNER_KEY));
        _register(SIGNER);
        assertTrue(_verify(SIGNER_KEY));
    }

    /// @dev E12: neither forgetting nor allowing a denied platform revives a key; a new quote does.
    function testFuzz_denyPlatform_forgottenOrAllowed_oldKeysStayDead(bool forget) public {
        vm.startPrank(OWNER);
        registry.denyPlatform(PLATFORM);
        if (forget) registry.forgetPlatform(PLATFORM);
        else registry.allowPlatform(PLATFORM);
        vm.stopPrank();
        _assertDead(SIGNER, SIGNER_KEY, abi.encodeWithSelector(IEnclaveRegistry.PlatformWithdrawn.selector, PLATFORM));
        vm.roll(vm.getBlockNumber() + 1);
        _register(SIGNER);
        assertTrue(_verify(SIGNER_KEY));
    }

    /// @dev E12, E5: what was registered before the denial does not lengthen a registration after it.
    function testFuzz_register_afterDenial_startsAfresh(uint64 validUntil) public {
        vm.startPrank(OWNER);
        registry.denyPlatform(PLATFORM);
        registry.forgetPlatform(PLATFORM);
        vm.stopPrank();
        vm.roll(vm.getBlockNumber() + 1);
        validUntil = uint64(bound(validUntil, vm.getBlockTimestamp(), vm.getBlockTimestamp() + 29 days));
        registry.register(SIGNER, SEALING_KEY, OPERATOR, vm.getBlockNumber() - 1, _quote(SIGNER, BUILD, validUntil));
        assertEq(registry.enclave(SIGNER).liveUntil, validUntil);
    }

    /// @dev E13: a quote from before the denial does not count after it, however young it is.
    function testFuzz_register_quoteOlderThanDenial_reverts(uint8 wait) public {
        bytes memory quote = abi.encode(_other());
        uint256 anchorBlock = vm.getBlockNumber() - 1;
        uint256 deniedBlock = vm.getBlockNumber();
        vm.startPrank(OWNER);
        registry.denyPlatform(PLATFORM);
        registry.allowPlatform(PLATFORM);
        vm.stopPrank();
        vm.roll(deniedBlock + bound(wait, 0, 200));
        vm.expectRevert(
            abi.encodeWithSelector(IEnclaveRegistry.AnchorBeforeRevocation.selector, deniedBlock, anchorBlock)
        );
        registry.register(OTHER, SEALING_KEY, OPERATOR, anchorBlock, quote);
    }

    /// @dev E13: nor one from before the build was approved again.
    function testFuzz_register_quoteOlderThanNewApproval_reverts(uint8 wait) public {
        bytes memory quote = abi.encode(_other());
        uint256 anchorBlock = vm.getBlockNumber() - 1;
        uint256 approvedBlock = vm.getBlockNumber();
        vm.startPrank(OWNER);
        registry.revokeMeasurement(BUILD);
        registry.approveMeasurement(BUILD, _policy());
        vm.stopPrank();
        vm.roll(approvedBlock + bound(wait, 0, 200));
        vm.expectRevert(
            abi.encodeWithSelector(IEnclaveRegistry.AnchorBeforeRevocation.selector, approvedBlock, anchorBlock)
        );
        registry.register(OTHER, SEALING_KEY, OPERATOR, anchorBlock, quote);
    }

    /// @dev E12: where the policy asks for it, a platform registers only while allowed, and its keys end with that.
    function test_register_listedPlatformsOnly_allowedOnly() public {
        Policy memory policy = _policy();
        policy.listedPlatformsOnly = true;
        _set(policy);
        bytes memory cause =
            abi.encodeWithSelector(IEnclaveRegistry.PlatformNotAccepted.selector, PLATFORM, PlatformStanding.Unlisted);
        _refuse(cause);

        vm.expectEmit(address(registry));
        emit IEnclaveRegistry.PlatformAllowed(PLATFORM);
        vm.prank(OWNER);
        registry.allowPlatform(PLATFORM);
        _registerWith(_other());
        assertTrue(_verify(OTHER_KEY));

        vm.expectEmit(address(registry));
        emit IEnclaveRegistry.PlatformForgotten(PLATFORM);
        vm.prank(OWNER);
        registry.forgetPlatform(PLATFORM);
        _assertDead(OTHER, OTHER_KEY, abi.encodeWithSelector(IEnclaveRegistry.PlatformWithdrawn.selector, PLATFORM));
        _refuse(cause);
    }

    /// @dev E12: allowing ends no key, and starts none.
    function test_allowPlatform_keysLiveOn() public {
        vm.prank(OWNER);
        registry.allowPlatform(PLATFORM);
        assertTrue(_verify(SIGNER_KEY));
    }

    function test_platform_standingUnchanged_reverts() public {
        vm.startPrank(OWNER);
        bytes4 cause = IEnclaveRegistry.PlatformStandingUnchanged.selector;
        vm.expectRevert(abi.encodeWithSelector(cause, PLATFORM, PlatformStanding.Unlisted));
        registry.forgetPlatform(PLATFORM);
        registry.allowPlatform(PLATFORM);
        vm.expectRevert(abi.encodeWithSelector(cause, PLATFORM, PlatformStanding.Allowed));
        registry.allowPlatform(PLATFORM);
        registry.denyPlatform(PLATFORM);
        vm.expectRevert(abi.encodeWithSelector(cause, PLATFORM, PlatformStanding.Denied));
        registry.denyPlatform(PLATFORM);
    }

    /// @dev E14: a key lives on one platform for life; moving elsewhere would take it out of the reach of a denial.
    function test_register_otherPlatform_reverts() public {
        Attestation memory attestation = _attestation(SIGNER, BUILD, type(uint64).max);
        attestation.platform = OTHER_PLATFORM;
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.PlatformMismatch.selector, PLATFORM, OTHER_PLATFORM));
        registry.register(SIGNER, SEALING_KEY, OPERATOR, vm.getBlockNumber() - 1, abi.encode(attestation));
        assertEq(registry.enclave(SIGNER).platform, PLATFORM);
    }

    /// @dev E1: what follows the hash in the report data must be zeros.
    function testFuzz_register_reportDataTail_reverts(bytes32 tail) public {
        vm.assume(tail != 0);
        Attestation memory attestation = _other();
        attestation.reportDataTail = tail;
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.ReportDataTailNotZero.selector, tail));
        _registerWith(attestation);
    }
}

/// @notice The registry by itself.
contract StandaloneEnclavePolicyTest is EnclavePolicySuite {
    function setUp() public override {
        super.setUp();
        registry = _deployRegistry();
        vm.prank(OWNER);
        registry.approveMeasurement(BUILD, _policy());
        _register(SIGNER);
    }
}

/// @notice The registry that the coprocessor is.
contract CoprocessorEnclavePolicyTest is EnclavePolicySuite {}
