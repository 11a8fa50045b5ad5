// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {DcapFixture} from "../DcapFixture.sol";
import {LibBytes} from "solady/utils/LibBytes.sol";

import {Collateral, DocumentView, IDcapVerifier, IssuerView, PckView} from "contracts/interfaces/IDcapVerifier.sol";
import {IEnclaveRegistry} from "contracts/interfaces/IEnclaveRegistry.sol";
import {Attestation, MeasurementId} from "contracts/types/Attestation.sol";
import {Policy} from "contracts/types/Policy.sol";

/// @notice What genuine evidence attests, and for how long.
contract DcapVerifierTest is DcapFixture {
    /// @dev Q10, V1: every kind of quote and every status, as the development PKI meant it.
    function test_verify_genuine_attestsWhatWasMeant() public {
        for (uint256 i; i < CASES; ++i) {
            Machine memory m = _prepared(i);
            assertEq(abi.encode(verifier.verify(m.evidence)), abi.encode(_expected(i)), vm.toString(i));
        }
    }

    /// @dev Q16: with the attestation key cached, the short form attests the same.
    function test_verify_cachedAttestationKey_attestsTheSame() public {
        for (uint256 i; i < CASES; ++i) {
            Machine memory m = _prepared(i);
            bytes32 keyId = _keyId(m.attestationKey);
            _refuse(m.shortEvidence, abi.encodeWithSelector(IDcapVerifier.AttestationKeyUnknown.selector, keyId));
            assertFalse(verifier.isAttestationKeyCached(keyId));
            vm.expectEmit(address(verifier));
            emit IDcapVerifier.AttestationKeyCached(keyId, m.pckId);
            assertEq(verifier.cacheAttestationKey(m.evidence), keyId);
            assertTrue(verifier.isAttestationKeyCached(keyId));
            assertEq(abi.encode(verifier.verify(m.shortEvidence)), abi.encode(_expected(i)), vm.toString(i));
        }
    }

    /// @dev Q1: another root, another truth.
    function testFuzz_deploy_otherRoot_believesNothing(uint256 key) public {
        Machine memory m = _machine(SGX);
        key = bound(key, 1, P256_ORDER - 1);
        vm.assume(key != m.rootKey);
        (uint256 x, uint256 y) = vm.publicKeyP256(key);
        vm.warp(m.now_);
        vm.expectEmit();
        emit IDcapVerifier.RootTrusted(bytes32(x), bytes32(y));
        verifier = _deployVerifier(bytes32(x), bytes32(y));
        assertEq(verifier.ROOT_X(), bytes32(x));
        assertEq(verifier.ROOT_Y(), bytes32(y));
        vm.expectRevert();
        verifier.refreshRootCrl(m.rootCrl);
        vm.expectRevert();
        verifier.addCertificateAuthority(m.authority);
        vm.expectRevert();
        verifier.addTcbSigner(m.signer);
    }

    /// @dev Q1: without the precompile nothing is believed: nobody answers, and silence is no consent.
    function test_refreshRootCrl_precompileAbsent_reverts() public {
        Machine memory m = _machine(SGX);
        vm.warp(m.now_);
        verifier = _deployVerifier(m.rootX, m.rootY);
        vm.mockCall(address(0x100), bytes(""), bytes(""));
        vm.expectRevert();
        verifier.refreshRootCrl(m.rootCrl);
        vm.mockCall(address(0x100), bytes(""), abi.encode(2));
        vm.expectRevert();
        verifier.refreshRootCrl(m.rootCrl);
        vm.clearMockedCalls();
        verifier.refreshRootCrl(m.rootCrl);
    }

    /// @dev Q9: what is cached can be looked up.
    function test_views_prepared_showWhatIsCached() public {
        Machine memory m = _prepared(OUT_OF_DATE);
        Attestation memory expected = _expected(OUT_OF_DATE);
        PckView memory pck = verifier.pck(m.pckId);
        assertEq(pck.platform, expected.platform);
        assertEq(pck.caId, m.authorityId);
        assertEq(pck.fmspc, 0x90c0de000000);
        assertEq(pck.pceSvn, 13);
        assertEq(pck.cpuSvn, 0x03030202040100050000000000000000);
        IssuerView memory authority = verifier.certificateAuthority(m.authorityId);
        assertGt(authority.notAfter, m.now_);
        assertEq(verifier.tcbSigner(m.signerId).notAfter, authority.notAfter);
        assertTrue(authority.serial != 0 && pck.serial != 0);
        _assertCurrent(verifier.rootCrl(), 0);
        _assertCurrent(verifier.pckCrl(m.authorityId), 0);
        _assertCurrent(verifier.tcbInfo(0x90c0de000000, 0, 0x81), 18);
        _assertCurrent(verifier.qeIdentity(0x81), 18);
    }

    function _assertCurrent(DocumentView memory document, uint256 number) private view {
        assertLe(document.issuedAt, vm.getBlockTimestamp());
        assertEq(document.validUntil, document.issuedAt + 30 days);
        assertEq(document.number, number);
    }

    /// @dev Q9: what is not cached shows as nothing.
    function test_views_nothingCached_areZero() public {
        Machine memory m = _machine(SGX);
        verifier = _deployVerifier(m.rootX, m.rootY);
        DocumentView memory none;
        IssuerView memory nobody;
        assertEq(abi.encode(verifier.certificateAuthority(m.authorityId)), abi.encode(nobody));
        assertEq(abi.encode(verifier.tcbSigner(m.signerId)), abi.encode(nobody));
        assertEq(abi.encode(verifier.rootCrl()), abi.encode(none));
        assertEq(abi.encode(verifier.pckCrl(m.authorityId)), abi.encode(none));
        assertEq(abi.encode(verifier.tcbInfo(0x90c0de000000, 0, 0)), abi.encode(none));
        assertEq(abi.encode(verifier.qeIdentity(0)), abi.encode(none));
        vm.expectRevert(abi.encodeWithSelector(IDcapVerifier.PckUnknown.selector, m.pckId));
        verifier.pck(m.pckId);
    }

    /* -------------------------------------------------- expiry ----------------------------------------------- */

    /// @dev Q12: evidence verifies to the last second that is promised, and not one longer.
    function testFuzz_verify_afterValidUntil_reverts(uint64 later) public {
        Machine memory m = _prepared(TDX_4);
        verifier.cacheAttestationKey(m.evidence);
        uint64 validUntil = verifier.verify(m.evidence).validUntil;
        vm.warp(validUntil);
        verifier.verify(m.evidence);
        vm.warp(bound(later, uint256(validUntil) + 1, 10 * uint256(validUntil)));
        vm.expectRevert();
        verifier.verify(m.evidence);
        vm.expectRevert();
        verifier.verify(m.shortEvidence);
    }

    /// @dev Q12: each document is missed by itself.
    function testFuzz_verify_oneDocumentMissing_reverts(uint8 which) public {
        Machine memory m = _machine(TDX_4);
        which = uint8(bound(which, 0, 3));
        _deploy(m);
        bytes memory cause = abi.encodeWithSelector(IDcapVerifier.PckUnknown.selector, m.pckId);
        _refuse(m.evidence, cause);
        verifier.addPck(m.pck, m.authorityId);
        if (which != 1) verifier.refreshPckCrl(m.authorityId, m.pckCrl);
        if (which != 2) verifier.refreshTcbInfo(m.tcbInfo, m.tcbInfoSignature, m.signerId);
        if (which != 3) verifier.refreshQeIdentity(m.qeIdentity, m.qeIdentitySignature, m.signerId);
        if (which == 0) {
            verifier.verify(m.evidence);
        } else {
            _refuse(
                m.evidence, abi.encodeWithSelector(IDcapVerifier.CollateralNotCurrent.selector, Collateral(which), 0)
            );
        }
    }

    /* ------------------------------------------------ revocation --------------------------------------------- */

    /// @dev A list by `key`, of the issuer of `list`, a second newer than it.
    function _revoke(uint256 key, bytes memory list, uint160 serial) private pure returns (bytes memory) {
        bytes memory content = _signedPart(list);
        uint256 here = LibBytes.indexOf(content, hex"170d"); // thisUpdate
        bytes memory times = LibBytes.slice(content, here, here + 30);
        times[13] = bytes1(uint8(times[13]) + 1);
        bytes memory entry = _tlv(0x30, bytes.concat(_integer(serial), LibBytes.slice(times, 0, 15)));
        bytes memory inner = bytes.concat(
            LibBytes.slice(content, _head(content), here),
            times,
            _tlv(0x30, entry),
            LibBytes.slice(content, here + 30, content.length)
        );
        return _wrap(key, _tlv(0x30, inner));
    }

    /// @dev How long tag and length of an element are.
    function _head(bytes memory der) private pure returns (uint256) {
        return der[1] == 0x82 ? 4 : der[1] == 0x81 ? 3 : 2;
    }

    /// @dev Q13: a revoked PCK's quotes are refused at once, also by a cached attestation key.
    function test_verify_revokedPck_reverts() public {
        Machine memory m = _prepared(SGX);
        verifier.cacheAttestationKey(m.evidence);
        uint160 serial = verifier.pck(m.pckId).serial;
        verifier.refreshPckCrl(m.authorityId, _revoke(m.authorityKey, m.pckCrl, serial));
        assertEq(verifier.pckCrl(m.authorityId).number, 1);
        bytes memory cause = abi.encodeWithSelector(IDcapVerifier.SerialRevoked.selector, Collateral.PckCrl, serial);
        _refuse(m.evidence, cause);
        _refuse(m.shortEvidence, cause);
    }

    /// @dev Q13: somebody else's revocation harms nobody.
    function testFuzz_verify_otherPckRevoked_verifies(uint160 serial) public {
        Machine memory m = _prepared(SGX);
        vm.assume(serial != verifier.pck(m.pckId).serial);
        verifier.refreshPckCrl(m.authorityId, _revoke(m.authorityKey, m.pckCrl, serial));
        verifier.verify(m.evidence);
    }

    /// @dev Q13: with its authority, everything that it certified is revoked.
    function test_verify_revokedAuthority_reverts() public {
        Machine memory m = _prepared(SGX);
        verifier.cacheAttestationKey(m.evidence);
        uint160 serial = verifier.certificateAuthority(m.authorityId).serial;
        verifier.refreshRootCrl(_revoke(m.rootKey, m.rootCrl, serial));
        bytes memory cause = abi.encodeWithSelector(IDcapVerifier.SerialRevoked.selector, Collateral.RootCrl, serial);
        _refuse(m.evidence, cause);
        _refuse(m.shortEvidence, cause);
        vm.expectRevert(cause);
        verifier.addPck(m.pck, m.authorityId);
        vm.expectRevert(cause);
        verifier.refreshPckCrl(m.authorityId, m.pckCrl);
        vm.expectRevert(cause);
        verifier.addCertificateAuthority(m.authority);
    }

    /// @dev Q13: with the TCB signer, what it signed.
    function test_verify_revokedTcbSigner_reverts() public {
        Machine memory m = _prepared(SGX);
        verifier.cacheAttestationKey(m.evidence);
        uint160 serial = verifier.tcbSigner(m.signerId).serial;
        verifier.refreshRootCrl(_revoke(m.rootKey, m.rootCrl, serial));
        bytes memory cause = abi.encodeWithSelector(IDcapVerifier.SerialRevoked.selector, Collateral.RootCrl, serial);
        _refuse(m.evidence, cause);
        _refuse(m.shortEvidence, cause);
        vm.expectRevert(cause);
        verifier.refreshTcbInfo(m.tcbInfo, m.tcbInfoSignature, m.signerId);
        vm.expectRevert(cause);
        verifier.addTcbSigner(m.signer);
    }

    /// @dev Q13: any one of many is found, wherever it is in the list.
    function testFuzz_verify_revokedAmongMany_reverts(uint160[] memory others, uint8 place) public {
        Machine memory m = _prepared(SGX);
        uint160 serial = verifier.pck(m.pckId).serial;
        bytes memory entries;
        uint256 count = others.length > 20 ? 20 : others.length;
        for (uint256 i; i < count; ++i) {
            if (i == place % (count + 1)) entries = bytes.concat(entries, _entry(m.pckCrl, serial));
            entries = bytes.concat(entries, _entry(m.pckCrl, others[i]));
        }
        if (place % (count + 1) == count) entries = bytes.concat(entries, _entry(m.pckCrl, serial));
        bytes memory one = _signedPart(_revoke(m.authorityKey, m.pckCrl, serial));
        bytes memory list = _tlv(0x30, _entry(m.pckCrl, serial));
        uint256 here = LibBytes.indexOf(one, list);
        bytes memory content = bytes.concat(
            LibBytes.slice(one, _head(one), here),
            _tlv(0x30, entries),
            LibBytes.slice(one, here + list.length, one.length)
        );
        verifier.refreshPckCrl(m.authorityId, _wrap(m.authorityKey, _tlv(0x30, content)));
        _refuse(m.evidence, abi.encodeWithSelector(IDcapVerifier.SerialRevoked.selector, Collateral.PckCrl, serial));
    }

    function _entry(bytes memory list, uint160 serial) private pure returns (bytes memory) {
        bytes memory content = _signedPart(list);
        bytes memory time =
            LibBytes.slice(content, LibBytes.indexOf(content, hex"170d"), 15 + LibBytes.indexOf(content, hex"170d"));
        time[13] = bytes1(uint8(time[13]) + 1);
        return _tlv(0x30, bytes.concat(_integer(serial), time));
    }

    /* ------------------------------------------------- registry ---------------------------------------------- */

    /// @dev E1, Q18: a registry believes this verifier, and nobody else's machine.
    function test_register_developmentQuote_registers() public {
        Machine memory m = _prepared(TDX_4);
        IEnclaveRegistry registry = IEnclaveRegistry(_deploy("EnclaveRegistry", abi.encode(address(this), verifier)));
        Policy memory policy;
        policy.acceptedStatuses = 1;
        registry.approveMeasurement(_expected(TDX_4).measurement, policy);
        address signer = makeAddr("signer");
        vm.roll(100);
        bytes32 reportData = registry.reportData(signer, keccak256("sealing"), address(this), blockhash(99));
        Parts memory p = _parts(m.evidence);
        _put(m.evidence, p.body + 520, abi.encode(reportData));
        _resign(m);
        registry.register(signer, keccak256("sealing"), address(this), 99, m.evidence);
        assertTrue(registry.isLive(signer));
        assertEq(registry.enclave(signer).platform, _expected(TDX_4).platform);
        assertEq(registry.enclave(signer).liveUntil, _expected(TDX_4).validUntil);
        assertEq(MeasurementId.unwrap(registry.enclave(signer).measurement), _word(TDX_4, "measurement"));
    }
}
