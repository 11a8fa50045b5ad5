// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {DcapFixture} from "../DcapFixture.sol";
import {LibBytes} from "solady/utils/LibBytes.sol";

import {PlatformTcbLibrary} from "contracts/attestation/PlatformTcb.sol";
import {Quote} from "contracts/attestation/Quote.sol";
import {SvnLevels} from "contracts/attestation/SvnLevels.sol";
import {IDcapVerifier} from "contracts/interfaces/IDcapVerifier.sol";
import {Attestation} from "contracts/types/Attestation.sol";

/// @notice Quotes that must be refused, most of them properly signed.
/// @dev Each run makes a machine and all its collateral anew, so there are fewer of them.
/// forge-config: default.fuzz.runs = 64
contract DcapQuotesTest is DcapFixture {
    /// @dev One more than fits the lower half of the order.
    uint256 private constant HIGH_S = P256_ORDER / 2 + 1;

    uint256 private constant CALL_HEAD = 4 + 32 + 32; // selector, offset and length, before the evidence in calldata

    /* ------------------------------------------------- any byte --------------------------------------------- */

    /// @dev Q10: no byte of the evidence can be changed, by any bit, in either form.
    function _checkFlips(uint256 index, uint8 bit) private {
        Machine memory m = _prepared(index);
        verifier.cacheAttestationKey(m.evidence);
        bytes1 mask = bytes1(uint8(1) << bit % 8);
        for (uint256 form; form < 2; ++form) {
            bytes memory evidence = form == 0 ? m.evidence : m.shortEvidence;
            bytes memory call = abi.encodeCall(verifier.verify, (evidence));
            for (uint256 i = CALL_HEAD; i < CALL_HEAD + evidence.length; ++i) {
                call[i] ^= mask;
                (bool accepted,) = address(verifier).staticcall(call);
                if (accepted) {
                    assertTrue(false, string.concat("accepted with another byte ", vm.toString(i - CALL_HEAD)));
                }
                call[i] ^= mask;
            }
            (bool isIntact,) = address(verifier).staticcall(call);
            assertTrue(isIntact);
        }
    }

    /// forge-config: default.fuzz.runs = 4
    function testFuzz_verify_anyByteOfSgxV3Flipped_reverts(uint8 bit) public {
        _checkFlips(SGX, bit);
    }

    /// forge-config: default.fuzz.runs = 4
    function testFuzz_verify_anyByteOfTdxV4Flipped_reverts(uint8 bit) public {
        _checkFlips(TDX_4, bit);
    }

    /// forge-config: default.fuzz.runs = 4
    function testFuzz_verify_anyByteOfTdxV5Flipped_reverts(uint8 bit) public {
        _checkFlips(TDX_5, bit);
        _checkFlips(TDX_5_TD15, bit);
    }

    /// @dev Q10: nor may anything be missing, or follow.
    function testFuzz_verify_otherLength_reverts(uint16 length) public {
        Machine memory m = _prepared(TDX_4);
        vm.assume(length != m.evidence.length);
        bytes memory evidence = length < m.evidence.length
            ? LibBytes.slice(m.evidence, 0, length)
            : bytes.concat(m.evidence, new bytes(length - m.evidence.length));
        vm.expectRevert();
        verifier.verify(evidence);
    }

    /// @dev Q10.
    function testFuzz_verify_garbage_reverts(bytes memory evidence, uint8 shape) public {
        _prepared(SGX);
        uint256[8] memory lengths = [uint256(1078), 1284, 1290, 1354, 564, 764, 770, 834];
        if (shape < 8) evidence = bytes.concat(evidence, new bytes(2000));
        if (shape < 8) evidence = LibBytes.slice(evidence, 0, lengths[shape]);
        vm.expectRevert();
        verifier.verify(evidence);
        vm.expectRevert();
        verifier.cacheAttestationKey(evidence);
    }

    /* -------------------------------------------------- header ----------------------------------------------- */

    /// @dev Q11: version, kind of key and TEE are those that go together; a version 4 quote of SGX is none of them.
    function testFuzz_verify_otherHeader_reverts(bytes8 header) public {
        Machine memory m = _prepared(TDX_4);
        vm.assume(header != 0x0400020081000000);
        _put(m.evidence, QUOTE, abi.encodePacked(header));
        _resign(m);
        _refuse(
            m.evidence, abi.encodeWithSelector(Quote.HeaderUnsupported.selector, bytes8(0x0400020081000000), header)
        );
    }

    /// @dev Q11.
    function testFuzz_verify_otherQeVendor_reverts(bytes16 vendor) public {
        Machine memory m = _prepared(SGX);
        vm.assume(vendor != 0x939a7233f79c4ca9940a0db3957f0607);
        _put(m.evidence, QUOTE + 12, abi.encodePacked(vendor));
        _resign(m);
        _refuse(m.evidence, abi.encodeWithSelector(Quote.QeVendorUnknown.selector, vendor));
    }

    /// @dev Q11: the rest of the header is anybody's, if the attestation key signed it.
    function testFuzz_verify_otherUserData_verifies(bytes20 userData, bytes4 svns) public {
        Machine memory m = _prepared(SGX);
        _put(m.evidence, QUOTE + 28, abi.encodePacked(userData));
        _put(m.evidence, QUOTE + 8, abi.encodePacked(svns));
        _resign(m);
        assertEq(abi.encode(verifier.verify(m.evidence)), abi.encode(_expected(SGX)));
    }

    /// @dev Q11: what a version 5 quote says of its body.
    /// forge-config: default.fuzz.runs = 32
    function testFuzz_verify_otherBodyDescriptor_reverts(bytes6 descriptor) public {
        Machine memory m = _prepared(TDX_5);
        vm.assume(descriptor != 0x020048020000);
        _put(m.evidence, QUOTE + 48, abi.encodePacked(descriptor));
        _resign(m);
        _refuse(m.evidence, abi.encodeWithSelector(Quote.BodyUnsupported.selector, bytes6(0x020048020000), descriptor));
    }

    /* --------------------------------------------------- body ------------------------------------------------ */

    /// @dev Q17.
    function testFuzz_verify_debugEnclave_reverts(uint8 flags) public {
        Machine memory m = _prepared(SGX);
        Parts memory p = _parts(m.evidence);
        m.evidence[p.body + 48] = bytes1(flags | 2);
        _resign(m);
        _refuse(m.evidence, abi.encodeWithSelector(Quote.DebugEnclave.selector));
    }

    /// @dev Q17: no bit that would let anybody look into a TD, none that is reserved, and SEPT_VE_DISABLE.
    function testFuzz_verify_tdAttributes_onlySafeOnesVerify(uint64 attributes) public {
        Machine memory m = _prepared(TDX_4);
        Parts memory p = _parts(m.evidence);
        _put(m.evidence, p.body + 120, abi.encodePacked(attributes));
        _resign(m);
        // PKS, KL and PERFMON are free.
        bool isSafe = attributes & ~uint64(0x000000c000000080) == 0x0000001000000000;
        if (!isSafe) vm.expectRevert();
        verifier.verify(m.evidence);
    }

    /// @dev Q17.
    function test_verify_tdAttributes_causesAreNamed() public {
        _refuseAttributes(0x0100001000000000, Quote.DebugTd.selector);
        _refuseAttributes(0x8000001000000000, Quote.DebugTd.selector);
        _refuseAttributes(0x0001001000000000, Quote.TdAttributesReserved.selector);
        _refuseAttributes(0x0000003000000000, Quote.TdAttributesReserved.selector);
        _refuseAttributes(0x0000001000000001, Quote.TdAttributesReserved.selector);
        _refuseAttributes(0x0000000000000000, Quote.SeptVeDisableOff.selector);
    }

    function _refuseAttributes(uint64 attributes, bytes4 cause) private {
        Machine memory m = _prepared(TDX_4);
        _put(m.evidence, _parts(m.evidence).body + 120, abi.encodePacked(attributes));
        _resign(m);
        _refuse(m.evidence, abi.encodeWithSelector(cause, attributes));
    }

    /// @dev Q17.
    /// forge-config: default.fuzz.runs = 32
    function testFuzz_verify_serviceTd_reverts(uint8 place, uint8 value) public {
        Machine memory m = _prepared(TDX_5_TD15);
        Parts memory p = _parts(m.evidence);
        m.evidence[p.body + 600 + bound(place, 0, 47)] = bytes1(uint8(bound(value, 1, 255)));
        _resign(m);
        _refuse(m.evidence, abi.encodeWithSelector(Quote.ServiceTdNotZero.selector));
    }

    /// @dev Q18: what names the build changes the measurement; what names machine or run does not.
    function testFuzz_verify_otherReport_measurementFollowsTheBuild(uint16 place, uint8 value) public {
        for (uint256 index; index < 2; ++index) {
            Machine memory m = _prepared(index);
            bool isTdx = index == TDX_4;
            Parts memory p = _parts(m.evidence);
            place = uint16(bound(place, 0, p.bodyEnd - p.body - 1));
            if (bytes1(value) == m.evidence[p.body + place]) value = ~value;
            m.evidence[p.body + place] = bytes1(value);
            _resign(m);
            (bool accepted, bytes memory returned) =
                address(verifier).staticcall(abi.encodeCall(verifier.verify, (m.evidence)));
            if (!accepted) continue;
            Attestation memory attestation = abi.decode(returned, (Attestation));
            bool isBuild = isTdx
                ? place >= 120 && place < 520
                : (place >= 16 && place < 20) || (place >= 32 && place < 56) || (place >= 64 && place < 96)
                    || (place >= 128 && place < 160) || (place >= 192 && place < 262) || (place >= 304 && place < 320);
            bytes32 expected = _word(index, "measurement");
            assertEq(_unwrap(attestation) != expected, isBuild);
        }
    }

    function _unwrap(Attestation memory attestation) private pure returns (bytes32 id) {
        assembly ("memory-safe") {
            id := mload(attestation)
        }
    }

    /// @dev Q18: all 64 bytes of report data come out.
    function testFuzz_verify_reportData_comesOut(bytes32 head, bytes32 tail) public {
        for (uint256 index; index < 2; ++index) {
            Machine memory m = _prepared(index);
            Parts memory p = _parts(m.evidence);
            _put(m.evidence, p.body + (index == SGX ? 320 : 520), abi.encode(head, tail));
            _resign(m);
            Attestation memory attestation = verifier.verify(m.evidence);
            assertEq(attestation.reportData, head);
            assertEq(attestation.reportDataTail, tail);
        }
    }

    /* ----------------------------------------------- quoting enclave ----------------------------------------- */

    /// @dev Q14: the report of another enclave, even if the machine's PCK signed it: another signer, product, debug mode...
    function testFuzz_verify_otherQuotingEnclave_reverts(uint8 which, uint8 bit) public {
        Machine memory m = _prepared(TDX_4);
        Parts memory p = _parts(m.evidence);
        uint256[5] memory places = [uint256(16), 48, 128, 256, 320];
        uint256[5] memory widths = [uint256(4), 8, 32, 2, 64];
        which = uint8(bound(which, 0, 4));
        bit = uint8(bound(bit, 0, widths[which] * 8 - 1));
        // PROVISIONKEY is left out of the mask; the QE has it.
        if (which == 1 && bit == 2) ++bit;
        uint256 place = p.qe + places[which] + bit / 8;
        m.evidence[place] ^= bytes1(uint8(1) << bit % 8);
        _resignQe(m);
        vm.expectRevert();
        verifier.verify(m.evidence);
    }

    /// @dev Q14: each refusal says why.
    function test_verify_otherQuotingEnclave_causesAreNamed() public {
        Machine memory m = _prepared(SGX);
        Parts memory p = _parts(m.evidence);
        m.evidence[p.qe + 48] |= 0x02;
        _resignQe(m);
        _refuse(m.evidence, abi.encodeWithSelector(IDcapVerifier.QeInDebugMode.selector));
        m.evidence[p.qe + 48] ^= 0x02;
        m.evidence[p.qe + 128] ^= 0x01;
        _resignQe(m);
        _refuse(m.evidence, IDcapVerifier.QeIdentityMismatch.selector);
        m.evidence[p.qe + 128] ^= 0x01;
        m.evidence[p.qe + 352] = 0x01;
        _resignQe(m);
        _refuse(m.evidence, abi.encodeWithSelector(IDcapVerifier.AttestationKeyNotBound.selector, 0, bytes32(hex"01")));
        m.evidence[p.qe + 352] = 0x00;
        m.evidence[p.qe + 258] = 0x07;
        _resignQe(m);
        _refuse(m.evidence, abi.encodeWithSelector(SvnLevels.NoLevelMatches.selector, 7));
        m.evidence[p.qe + 258] = 0x08;
        _resignQe(m);
        verifier.verify(m.evidence);
    }

    /// @dev Q15: a key of the attacker's own, bound by nobody: the report names another.
    function testFuzz_verify_ownAttestationKey_reverts(uint256 key) public {
        Machine memory m = _prepared(SGX);
        m.attestationKey = bound(key, 1, P256_ORDER - 1);
        vm.assume(_keyId(m.attestationKey) != _keyId(_machine(SGX).attestationKey));
        (uint256 x, uint256 y) = vm.publicKeyP256(m.attestationKey);
        _put(m.evidence, _parts(m.evidence).signature + 64, abi.encode(x, y));
        _resign(m);
        _refuse(m.evidence, IDcapVerifier.AttestationKeyNotBound.selector);
    }

    /// @dev Q15: a quoting enclave of the attacker's own, vouched for by a PCK that is nobody's, or by the TCB signer.
    function testFuzz_verify_ownPck_reverts(uint256 key) public {
        Machine memory m = _prepared(SGX);
        m.pckKey = bound(key, 1, P256_ORDER - 1);
        vm.assume(m.pckKey != _machine(SGX).pckKey);
        _resignQe(m);
        _refuse(m.evidence, abi.encodeWithSelector(IDcapVerifier.QeReportSignatureWrong.selector, m.pckId));
        _put(m.evidence, 0, abi.encode(_keyId(m.pckKey)));
        _refuse(m.evidence, abi.encodeWithSelector(IDcapVerifier.PckUnknown.selector, _keyId(m.pckKey)));
    }

    /// @dev Q14: a TDX quote by the quoting enclave of SGX, and the other way about.
    function test_verify_quotingEnclaveOfOtherTee_reverts() public {
        Machine memory m = _prepared(TDX_4);
        Machine memory sgx = _machine(SGX);
        verifier.refreshTcbInfo(sgx.tcbInfo, sgx.tcbInfoSignature, m.signerId);
        verifier.refreshQeIdentity(sgx.qeIdentity, sgx.qeIdentitySignature, m.signerId);
        Parts memory p = _parts(m.evidence);
        uint256 qe = _parts(sgx.evidence).qe;
        _put(m.evidence, p.qe, LibBytes.slice(sgx.evidence, qe, qe + 482));
        _put(m.evidence, p.signature + 64, LibBytes.slice(sgx.evidence, qe - 64, qe));
        m.attestationKey = sgx.attestationKey;
        _resign(m);
        _refuse(m.evidence, IDcapVerifier.QeIdentityMismatch.selector);
    }

    /// @dev Q16: an attestation key that was cached for one TEE signs nothing for the other.
    function test_verify_cachedKeyOfOtherTee_reverts() public {
        Machine memory m = _prepared(TDX_4);
        Machine memory sgx = _machine(SGX);
        verifier.refreshTcbInfo(sgx.tcbInfo, sgx.tcbInfoSignature, m.signerId);
        verifier.refreshQeIdentity(sgx.qeIdentity, sgx.qeIdentitySignature, m.signerId);
        verifier.cacheAttestationKey(sgx.evidence);
        uint256 end = m.shortEvidence.length;
        _put(m.shortEvidence, end - 64, LibBytes.slice(sgx.shortEvidence, 564 - 64, 564));
        _put(m.shortEvidence, end - 128, _sign(sgx.attestationKey, LibBytes.slice(m.shortEvidence, 0, end - 132)));
        _refuse(m.shortEvidence, abi.encodeWithSelector(IDcapVerifier.AttestationKeyOfOtherTee.selector, 0, 0x81));
    }

    /* ------------------------------------------------ signatures --------------------------------------------- */

    /// @dev Q10: of the two signatures that are valid for anything only the one with low s is taken.
    function test_verify_highS_reverts() public {
        Machine memory m = _prepared(SGX);
        Parts memory p = _parts(m.evidence);
        uint256[2] memory places = [p.signature + 32, p.qe + 416];
        for (uint256 i; i < 2; ++i) {
            uint256 s = uint256(LibBytes.load(m.evidence, places[i]));
            _put(m.evidence, places[i], abi.encode(P256_ORDER - s));
            _refuse(
                m.evidence,
                abi.encodeWithSelector(
                    i == 0
                        ? IDcapVerifier.QuoteSignatureMalleable.selector
                        : IDcapVerifier.QeReportSignatureMalleable.selector
                )
            );
            _put(m.evidence, places[i], abi.encode(HIGH_S));
            vm.expectRevert();
            verifier.verify(m.evidence);
            _put(m.evidence, places[i], abi.encode(s));
        }
        verifier.verify(m.evidence);
    }

    /// @dev Q10: numbers that are no signature, and points that are no key.
    function testFuzz_verify_degenerateSignatureOrKey_reverts(uint8 which, uint256 noise) public {
        Machine memory m = _prepared(SGX);
        Parts memory p = _parts(m.evidence);
        uint256[4] memory places = [p.signature, p.signature + 32, p.qe + 384, p.qe + 416];
        uint256[4] memory values = [uint256(0), P256_ORDER, type(uint256).max, noise];
        for (uint256 i; i < 4; ++i) {
            bytes memory evidence = bytes.concat(m.evidence);
            _put(evidence, places[which % 4], abi.encode(values[i]));
            vm.expectRevert();
            verifier.verify(evidence);
        }
        // The QE may vouch for any 64 bytes; those off the curve verify nothing.
        bytes memory key = abi.encode(which % 2 == 0 ? 0 : noise, noise);
        _put(m.evidence, p.signature + 64, key);
        bytes32 bound_ = sha256(bytes.concat(key, LibBytes.slice(m.evidence, p.qe + 450, p.qe + 482)));
        _put(m.evidence, p.qe + 320, abi.encode(bound_));
        _resignQe(m);
        _refuse(m.evidence, abi.encodeWithSelector(IDcapVerifier.QuoteSignatureWrong.selector));
    }

    /* --------------------------------------------------- TCB ------------------------------------------------- */

    /// @dev Q17: a TDX module that Intel does not know, or did not sign, or that has attributes.
    function test_verify_tdxModule_onlyIntels() public {
        Machine memory m = _prepared(TDX_4);
        Parts memory p = _parts(m.evidence);
        m.evidence[p.body + 1] = 0x02;
        _resign(m);
        _refuse(m.evidence, abi.encodeWithSelector(PlatformTcbLibrary.TdxModuleUnknown.selector, 2));
        m.evidence[p.body + 1] = 0x01;
        m.evidence[p.body + 64] = 0x01;
        _resign(m);
        _refuse(m.evidence, abi.encodeWithSelector(PlatformTcbLibrary.TdxModuleWrong.selector, 1));
        m.evidence[p.body + 64] = 0x00;
        m.evidence[p.body + 111] = 0x01;
        _resign(m);
        _refuse(m.evidence, abi.encodeWithSelector(PlatformTcbLibrary.TdxModuleWrong.selector, 1));
        m.evidence[p.body + 111] = 0x00;
        m.evidence[p.body + 112] = 0x01;
        _resign(m);
        _refuse(m.evidence, abi.encodeWithSelector(PlatformTcbLibrary.TdxModuleWrong.selector, 1));
        m.evidence[p.body + 112] = 0x00;
        m.evidence[p.body] = 0x01;
        _resign(m);
        _refuse(m.evidence, abi.encodeWithSelector(SvnLevels.NoLevelMatches.selector, 1));
        m.evidence[p.body + 1] = 0x00;
        _resign(m);
        _refuse(m.evidence, abi.encodeWithSelector(PlatformTcbLibrary.NoTcbLevelMatches.selector));
    }

    /// @dev Q17: the module's own level counts: an older SVN of it makes the platform out of date.
    function test_verify_tdxModuleOutOfDate_mergesItsLevel() public {
        Machine memory m = _prepared(TDX_4);
        Parts memory p = _parts(m.evidence);
        m.evidence[p.body] = 0x03;
        _resign(m);
        Attestation memory attestation = verifier.verify(m.evidence);
        assertEq(uint8(attestation.status), 4);
        assertEq(attestation.outOfDateSince, 1_710_288_000);
        assertEq(abi.encode(attestation.advisories), abi.encode(uint256(1099) << 16 | 1036));
    }

    /// @dev Q17: a platform that reaches no level is refused. The level asks for the third component only.
    function testFuzz_verify_lowerTdxComponent_reverts(uint8 component) public {
        Machine memory m = _prepared(TDX_4);
        Parts memory p = _parts(m.evidence);
        component = uint8(bound(component, 2, 15));
        m.evidence[p.body + component] = 0x00;
        _resign(m);
        if (component == 2) {
            _refuse(m.evidence, abi.encodeWithSelector(PlatformTcbLibrary.NoTcbLevelMatches.selector));
        } else {
            verifier.verify(m.evidence);
        }
    }
}
