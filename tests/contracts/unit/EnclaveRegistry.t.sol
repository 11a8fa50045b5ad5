// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Fixture} from "../Fixture.sol";

import {Enclave, IEnclaveRegistry} from "contracts/interfaces/IEnclaveRegistry.sol";
import {Attestation, MeasurementId} from "contracts/types/Attestation.sol";

/// @notice `IEnclaveRegistry`, as every implementation must behave: run below on the standalone registry and on the
/// one that the coprocessor is.
abstract contract EnclaveRegistrySuite is Fixture {
    uint256 private constant OTHER_KEY = uint256(keccak256("adyton other signer"));
    uint256 private constant CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    MeasurementId private constant OTHER_BUILD = MeasurementId.wrap(keccak256("adyton other build"));
    address private immutable OTHER = vm.addr(OTHER_KEY);

    function _verify(uint256 key) private view returns (bool) {
        return registry.verify(keccak256("digest"), _sign(key, keccak256("digest")));
    }

    function _registerWith(bytes memory quote) private {
        registry.register(OTHER, SEALING_KEY, OPERATOR, vm.getBlockNumber() - 1, quote);
    }

    /* ---------------------------------------------- registration ---------------------------------------------- */

    /// @dev E1, E3: a quote by an approved build makes the key live, for as long as its collateral and MAX_AGE allow.
    function testFuzz_register_validQuote_liveUntilCappedByCollateralAndAge(uint64 validUntil) public {
        validUntil = uint64(bound(validUntil, block.timestamp, type(uint64).max));
        uint64 latest = uint64(block.timestamp) + registry.MAX_AGE();
        uint64 expected = validUntil < latest ? validUntil : latest;
        bytes memory quote = _quote(OTHER, BUILD, validUntil);

        vm.expectEmit(address(registry));
        emit IEnclaveRegistry.EnclaveRegistered(OTHER, BUILD, OPERATOR, PLATFORM, SEALING_KEY, expected);
        vm.prank(STRANGER);
        _registerWith(quote);

        Enclave memory enclave = registry.enclave(OTHER);
        assertEq(MeasurementId.unwrap(enclave.measurement), MeasurementId.unwrap(BUILD));
        assertEq(enclave.operator, OPERATOR);
        assertEq(enclave.liveUntil, expected);
        assertTrue(enclave.live);
        assertTrue(registry.isLive(OTHER));
        assertTrue(_verify(OTHER_KEY));
    }

    /// @dev E4: quotes are fresh by a block of the last 256.
    function testFuzz_register_anchorTooOld_reverts(uint256 age) public {
        vm.roll(2_000);
        uint256 anchorBlock = vm.getBlockNumber() - bound(age, 257, 1_999);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.AnchorTooOld.selector, anchorBlock));
        registry.register(OTHER, SEALING_KEY, OPERATOR, anchorBlock, "");
    }

    /// @dev E4: nor may it lie ahead.
    function testFuzz_register_anchorNotYetMined_reverts(uint256 anchorBlock) public {
        anchorBlock = bound(anchorBlock, vm.getBlockNumber(), type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.AnchorTooOld.selector, anchorBlock));
        registry.register(OTHER, SEALING_KEY, OPERATOR, anchorBlock, "");
    }

    /// @dev E1: the report data binds every argument, the registry and the chain.
    function testFuzz_register_anythingElseAttested_reverts(uint8 which, bytes32 noise) public {
        bytes32 anchor = blockhash(vm.getBlockNumber() - 1);
        bytes32 expected = registry.reportData(OTHER, SEALING_KEY, OPERATOR, anchor);
        bytes32 attested;
        which = uint8(bound(which, 0, 5));
        if (which == 0) attested = registry.reportData(SIGNER, SEALING_KEY, OPERATOR, anchor);
        if (which == 1) attested = registry.reportData(OTHER, keccak256("sealing"), OPERATOR, anchor);
        if (which == 2) attested = registry.reportData(OTHER, SEALING_KEY, STRANGER, anchor);
        if (which == 3) {
            attested = registry.reportData(OTHER, SEALING_KEY, OPERATOR, blockhash(vm.getBlockNumber() - 2));
        }
        if (which == 4) {
            attested = _deployRegistry().reportData(OTHER, SEALING_KEY, OPERATOR, anchor);
        }
        if (which == 5) attested = noise;
        vm.assume(attested != expected);
        Attestation memory attestation = _attestation(OTHER, BUILD, type(uint64).max);
        attestation.reportData = attested;
        bytes memory quote = abi.encode(attestation);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.ReportDataMismatch.selector, expected, attested));
        _registerWith(quote);
    }

    /// @dev E1: the chain is in the report data.
    function test_reportData_otherChain_differs() public {
        bytes32 here = registry.reportData(OTHER, SEALING_KEY, OPERATOR, bytes32(uint256(1)));
        vm.chainId(2);
        assertNotEq(here, registry.reportData(OTHER, SEALING_KEY, OPERATOR, bytes32(uint256(1))));
    }

    /// @dev E2.
    function testFuzz_register_unapprovedBuild_reverts(MeasurementId build) public {
        vm.assume(MeasurementId.unwrap(build) != MeasurementId.unwrap(BUILD));
        bytes memory quote = _quote(OTHER, build, type(uint64).max);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.MeasurementNotApproved.selector, build));
        _registerWith(quote);
    }

    /// @dev E3.
    function testFuzz_register_collateralExpired_reverts(uint64 validUntil) public {
        validUntil = uint64(bound(validUntil, 0, block.timestamp - 1));
        bytes memory quote = _quote(OTHER, BUILD, validUntil);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.CollateralExpired.selector, validUntil));
        _registerWith(quote);
    }

    function test_register_signerZero_reverts() public {
        vm.expectRevert(IEnclaveRegistry.SignerMissing.selector);
        registry.register(address(0), SEALING_KEY, OPERATOR, vm.getBlockNumber() - 1, "");
    }

    /* ------------------------------------------------- renewal ------------------------------------------------ */

    /// @dev E5: renewing never shortens.
    function testFuzz_register_renewal_neverShortens(uint64 first, uint64 second, uint64 wait) public {
        first = uint64(bound(first, block.timestamp + 20 days, type(uint64).max));
        wait = uint64(bound(wait, 0, 20 days));
        _registerWith(_quote(OTHER, BUILD, first));
        uint64 before = registry.enclave(OTHER).liveUntil;

        vm.warp(vm.getBlockTimestamp() + wait);
        second = uint64(bound(second, vm.getBlockTimestamp(), type(uint64).max));
        _registerWith(_quote(OTHER, BUILD, second));
        uint64 afterwards = registry.enclave(OTHER).liveUntil;
        assertGe(afterwards, before);
        assertLe(afterwards, vm.getBlockTimestamp() + registry.MAX_AGE());
    }

    /// @dev E6: a key belongs to one operator for life.
    function test_register_otherOperator_reverts() public {
        bytes32 reportData = registry.reportData(SIGNER, SEALING_KEY, STRANGER, blockhash(vm.getBlockNumber() - 1));
        Attestation memory attestation = _attestation(OTHER, BUILD, type(uint64).max);
        attestation.reportData = reportData;
        bytes memory quote = abi.encode(attestation);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.OperatorMismatch.selector, OPERATOR, STRANGER));
        registry.register(SIGNER, SEALING_KEY, STRANGER, vm.getBlockNumber() - 1, quote);
    }

    /* ------------------------------------------------ revocation ---------------------------------------------- */

    /// @dev E7: a revoked key is dead at once.
    function test_verify_revokedSigner_reverts() public {
        vm.expectEmit(address(registry));
        emit IEnclaveRegistry.EnclaveRevoked(SIGNER);
        vm.prank(OWNER);
        registry.revokeEnclave(SIGNER);
        assertFalse(registry.isLive(SIGNER));
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.SignerRevoked.selector, SIGNER));
        _verify(SIGNER_KEY);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.SignerRevoked.selector, SIGNER));
        registry.enclave(SIGNER);
    }

    /// @dev E7: for good. Neither the old quote nor a new one brings it back, nor is it revoked twice.
    function test_register_revokedSigner_reverts() public {
        bytes memory quote = _quote(SIGNER, BUILD, type(uint64).max);
        vm.prank(OPERATOR);
        registry.revokeEnclave(SIGNER);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.SignerRevoked.selector, SIGNER));
        registry.register(SIGNER, SEALING_KEY, OPERATOR, vm.getBlockNumber() - 1, quote);
        vm.roll(vm.getBlockNumber() + 10);
        quote = _quote(SIGNER, BUILD, type(uint64).max);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.SignerRevoked.selector, SIGNER));
        registry.register(SIGNER, SEALING_KEY, OPERATOR, vm.getBlockNumber() - 1, quote);
        vm.prank(OWNER);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.SignerRevoked.selector, SIGNER));
        registry.revokeEnclave(SIGNER);
    }

    /// @dev E7: a key can be revoked before anyone registers it.
    function test_register_revokedBeforehand_reverts() public {
        vm.prank(OWNER);
        registry.revokeEnclave(OTHER);
        bytes memory quote = _quote(OTHER, BUILD, type(uint64).max);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.SignerRevoked.selector, OTHER));
        _registerWith(quote);
    }

    /// @dev E8: only the owner and the key's operator revoke it.
    function testFuzz_revokeEnclave_byStranger_reverts(address caller, address signer) public {
        vm.assume(caller != OWNER && caller != OPERATOR);
        vm.prank(caller);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.NotOwnerOrOperator.selector, caller));
        registry.revokeEnclave(signer);
    }

    /// @dev E2: a key dies with its build's approval, at once.
    function test_verify_revokedMeasurement_reverts() public {
        vm.expectEmit(address(registry));
        emit IEnclaveRegistry.MeasurementRevoked(BUILD);
        vm.prank(OWNER);
        registry.revokeMeasurement(BUILD);
        assertFalse(registry.isLive(SIGNER));
        assertFalse(registry.isApproved(BUILD));
        assertFalse(registry.enclave(SIGNER).live);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.MeasurementNotApproved.selector, BUILD));
        _verify(SIGNER_KEY);
        bytes memory quote = _quote(OTHER, BUILD, type(uint64).max);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.MeasurementNotApproved.selector, BUILD));
        _registerWith(quote);
    }

    /// @dev E2: approving the build again revives no key; registering anew does.
    function test_verify_measurementApprovedAgain_oldKeysStayDead() public {
        vm.startPrank(OWNER);
        registry.revokeMeasurement(BUILD);
        registry.approveMeasurement(BUILD, _policy());
        vm.stopPrank();
        assertFalse(registry.isLive(SIGNER));
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.MeasurementNotApproved.selector, BUILD));
        _verify(SIGNER_KEY);
        vm.roll(vm.getBlockNumber() + 1);
        _register(SIGNER);
        assertTrue(_verify(SIGNER_KEY));
    }

    /// @dev E3, E5: what an approval that was withdrawn vouched for does not lengthen a registration under the next.
    function testFuzz_register_underNewApproval_startsAfresh(uint64 validUntil) public {
        vm.startPrank(OWNER);
        registry.revokeMeasurement(BUILD);
        registry.approveMeasurement(BUILD, _policy());
        vm.stopPrank();
        vm.roll(vm.getBlockNumber() + 1);
        validUntil = uint64(bound(validUntil, vm.getBlockTimestamp(), registry.MAX_AGE() - 1 + vm.getBlockTimestamp()));
        bytes memory quote = _quote(SIGNER, BUILD, validUntil);
        registry.register(SIGNER, SEALING_KEY, OPERATOR, vm.getBlockNumber() - 1, quote);
        assertEq(registry.enclave(SIGNER).liveUntil, validUntil);
    }

    /// @dev E2: one build's fate is not another's.
    function test_revokeMeasurement_otherBuild_unharmed() public {
        vm.startPrank(OWNER);
        registry.approveMeasurement(OTHER_BUILD, _policy());
        vm.stopPrank();
        _registerWith(_quote(OTHER, OTHER_BUILD, type(uint64).max));
        vm.prank(OWNER);
        registry.revokeMeasurement(OTHER_BUILD);
        assertFalse(registry.isLive(OTHER));
        assertTrue(_verify(SIGNER_KEY));
    }

    function test_measurement_approvedTwiceOrRevokedUnapproved_reverts() public {
        vm.startPrank(OWNER);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.MeasurementAlreadyApproved.selector, BUILD));
        registry.approveMeasurement(BUILD, _policy());
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.MeasurementNotApproved.selector, OTHER_BUILD));
        registry.revokeMeasurement(OTHER_BUILD);
    }

    /* ------------------------------------------------ signatures ---------------------------------------------- */

    /// @dev E3: a key is live to the last second, and not one longer.
    function test_verify_expiredSigner_reverts() public {
        uint64 liveUntil = registry.enclave(SIGNER).liveUntil;
        vm.warp(liveUntil);
        assertTrue(_verify(SIGNER_KEY));
        vm.warp(uint256(liveUntil) + 1);
        assertFalse(registry.isLive(SIGNER));
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.SignerExpired.selector, SIGNER, liveUntil));
        _verify(SIGNER_KEY);
    }

    function testFuzz_verify_unknownSigner_reverts(uint256 key) public {
        key = bound(key, 1, 1e30);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.SignerUnknown.selector, vm.addr(key)));
        _verify(key);
    }

    function testFuzz_enclave_unknownSigner_reverts(address signer) public {
        vm.assume(signer != SIGNER);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.SignerUnknown.selector, signer));
        registry.enclave(signer);
        assertFalse(registry.isLive(signer));
    }

    /// @dev E9: of the two signatures that the curve allows, one is taken. The other's s needs 256 bits, of which
    /// EIP-2098 has 255.
    function testFuzz_verify_highS_reverts(bytes32 digest, bool odd) public {
        (, bytes32 r, bytes32 s) = vm.sign(SIGNER_KEY, digest);
        uint256 high = CURVE_ORDER - uint256(s);
        uint256 parity = odd ? 1 << 255 : 0;
        vm.expectRevert();
        registry.verify(digest, abi.encodePacked(r, high | parity));
        vm.expectRevert();
        registry.verify(digest, abi.encodePacked(r, high << 1 >> 1 | parity));
    }

    /// @dev E9: the smallest malleable s.
    function test_verify_sJustOverHalfOrder_reverts() public {
        bytes32 s = bytes32(CURVE_ORDER / 2 + 1);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.SignatureMalleable.selector, s));
        registry.verify(keccak256("digest"), abi.encodePacked(keccak256("r"), s));
    }

    function testFuzz_verify_wrongLength_reverts(bytes memory proof) public {
        vm.assume(proof.length != 64);
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.SignatureLengthWrong.selector, 64, proof.length));
        registry.verify(keccak256("digest"), proof);
    }

    /// @dev E9: the precompile's "no" is not the zero address's signature.
    function test_verify_unrecoverable_reverts() public {
        vm.expectRevert(IEnclaveRegistry.SignatureInvalid.selector);
        registry.verify(keccak256("digest"), new bytes(64));
    }

    function testFuzz_verify_otherDigest_reverts(bytes32 digest) public {
        vm.assume(digest != keccak256("digest"));
        bytes memory proof = _sign(SIGNER_KEY, keccak256("digest"));
        vm.expectPartialRevert(IEnclaveRegistry.SignerUnknown.selector);
        registry.verify(digest, proof);
    }
}

/// @notice The registry by itself.
contract StandaloneEnclaveRegistryTest is EnclaveRegistrySuite {
    function setUp() public override {
        super.setUp();
        registry = _deployRegistry();
        vm.prank(OWNER);
        registry.approveMeasurement(BUILD, _policy());
        _register(SIGNER);
    }
}

/// @notice The registry that the coprocessor is.
contract CoprocessorEnclaveRegistryTest is EnclaveRegistrySuite {}
