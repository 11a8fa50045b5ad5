// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {DcapFixture} from "../DcapFixture.sol";
import {LibBytes} from "solady/utils/LibBytes.sol";

import {Crl} from "contracts/attestation/Crl.sol";
import {SignedDer} from "contracts/attestation/SignedDer.sol";
import {Role, X509} from "contracts/attestation/X509.sol";
import {IDcapVerifier} from "contracts/interfaces/IDcapVerifier.sol";

/// @notice Certificates and revocation lists that must be refused, many of them properly signed.
/// forge-config: default.fuzz.runs = 64
contract DcapCertificatesTest is DcapFixture {
    bytes private constant KEY_USAGE = hex"0603551d0f0101ff0404";
    bytes private constant SGX_OID = hex"06092a864886f84d010d010482";

    /* --------------------------------------------------- roles ----------------------------------------------- */

    /// @dev Q2: no certificate that the root signed can stand in for one of another role, not even the root's own.
    function test_addIssuer_certificateOfOtherRole_reverts() public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        bytes memory notAuthority = abi.encodeWithSelector(X509.CommonNameWrong.selector, Role.PckAuthority);
        bytes memory notSigner = abi.encodeWithSelector(X509.CommonNameWrong.selector, Role.TcbSigner);
        vm.expectRevert(notAuthority);
        verifier.addCertificateAuthority(m.signer);
        vm.expectRevert(notAuthority);
        verifier.addCertificateAuthority(m.root);
        vm.expectRevert(notSigner);
        verifier.addTcbSigner(m.authority);
        vm.expectRevert(notSigner);
        verifier.addTcbSigner(m.root);
    }

    /// @dev Q2: nothing but an authority's PCK is a PCK: neither what the root signed nor what another PCK signed.
    function test_addPck_notAnAuthoritysPck_reverts() public {
        Machine memory m = _prepared(SGX);
        bytes[4] memory others = [m.authority, m.signer, m.root, m.pckCrl];
        for (uint256 i; i < 4; ++i) {
            vm.expectRevert();
            verifier.addPck(others[i], m.authorityId);
        }
        // A PCK is no authority, whatever it signs; nor is the TCB signer, nor does the root sign PCKs.
        bytes memory byPck = _wrap(m.pckKey, _signedPart(m.pck));
        bytes memory bySigner = _wrap(m.signerKey, _signedPart(m.pck));
        bytes memory byRoot = _wrap(m.rootKey, _signedPart(m.pck));
        vm.expectRevert(abi.encodeWithSelector(IDcapVerifier.CertificateAuthorityUnknown.selector, m.pckId));
        verifier.addPck(byPck, m.pckId);
        vm.expectRevert(abi.encodeWithSelector(IDcapVerifier.CertificateAuthorityUnknown.selector, m.signerId));
        verifier.addPck(bySigner, m.signerId);
        bytes[3] memory wronglySigned = [byPck, bySigner, byRoot];
        for (uint256 i; i < 3; ++i) {
            vm.expectRevert(abi.encodeWithSelector(SignedDer.SignatureWrong.selector));
            verifier.addPck(wronglySigned[i], m.authorityId);
        }
    }

    /// @dev Q2: an authority or PCK signs no documents.
    function test_refreshTcbInfo_byAnotherRole_reverts() public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        uint256[4] memory keys = [m.authorityKey, m.pckKey, m.rootKey, m.attestationKey];
        for (uint256 i; i < 4; ++i) {
            bytes memory signature = _sign(keys[i], m.tcbInfo);
            vm.expectRevert(abi.encodeWithSelector(IDcapVerifier.TcbSignerUnknown.selector, _keyId(keys[i])));
            verifier.refreshTcbInfo(m.tcbInfo, signature, _keyId(keys[i]));
            vm.expectRevert();
            verifier.refreshTcbInfo(m.tcbInfo, signature, m.signerId);
        }
    }

    /// @dev Q2: the common name is not enough; the rights must fit it.
    function test_addIssuer_rightsOfOtherRole_reverts() public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        bytes4 cause = X509.RightsWrong.selector;
        // An authority that may not sign certificates, or no revocation lists; one whose key is for something else.
        bytes1[3] memory usages = [bytes1(0x02), 0x04, 0x80];
        for (uint256 i; i < 3; ++i) {
            bytes memory der = _forge(
                m.rootKey,
                m.authority,
                bytes.concat(KEY_USAGE, hex"03020106"),
                bytes.concat(KEY_USAGE, hex"030200", usages[i])
            );
            vm.expectPartialRevert(cause);
            verifier.addCertificateAuthority(der);
        }
        // A TCB signer that may also sign certificates.
        bytes memory signer =
            _forge(m.rootKey, m.signer, bytes.concat(KEY_USAGE, hex"030206c0"), bytes.concat(KEY_USAGE, hex"030200c4"));
        vm.expectPartialRevert(cause);
        verifier.addTcbSigner(signer);
        // A PCK that may.
        bytes memory pck = _forge(
            m.authorityKey, m.pck, bytes.concat(KEY_USAGE, hex"030206c0"), bytes.concat(KEY_USAGE, hex"030200c4")
        );
        vm.expectPartialRevert(cause);
        verifier.addPck(pck, m.authorityId);
        // A PCK and a TCB signer under an authority's name, an authority under theirs.
        bytes memory renamed = _forge(m.rootKey, m.signer, "Intel SGX TCB Signing", "Intel SGX TCB Sjgning");
        vm.expectRevert(abi.encodeWithSelector(X509.CommonNameWrong.selector, Role.TcbSigner));
        verifier.addTcbSigner(renamed);
        renamed = _forge(m.authorityKey, m.pck, "Intel SGX PCK Certificate", "Intel SGX PCK Platform CA");
        vm.expectRevert(abi.encodeWithSelector(X509.CommonNameWrong.selector, Role.Pck));
        verifier.addPck(renamed, m.authorityId);
    }

    /// @dev Q2: a PCK without a platform is none.
    function test_addPck_withoutSgxExtension_reverts() public {
        Machine memory m = _prepared(SGX);
        bytes memory der = _forge(m.authorityKey, m.pck, SGX_OID, hex"06092a864886f84d010d7f0482");
        vm.expectPartialRevert(X509.ExtensionMissing.selector);
        verifier.addPck(der, m.authorityId);
    }

    /// @dev Q3: what is critical and not known is refused; so is what is there twice, or not there.
    function test_addIssuer_extensionsUnknownRepeatedOrMissing_revert() public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        bytes memory der = _forge(m.rootKey, m.authority, hex"0603551d0f", hex"0603551d24");
        vm.expectPartialRevert(X509.ExtensionUnknown.selector);
        verifier.addCertificateAuthority(der);
        der = _forge(m.rootKey, m.authority, hex"0603551d0f0101ff", hex"0603551d240101ff");
        vm.expectPartialRevert(X509.ExtensionUnknown.selector);
        verifier.addCertificateAuthority(der);
        // Of the key identifiers, neither critical nor needed, one becomes key usage, and is malformed as such.
        der = _forge(m.rootKey, m.authority, hex"0603551d0e", hex"0603551d0f");
        vm.expectRevert();
        verifier.addCertificateAuthority(der);
        // FALSE is not written in DER.
        der = _forge(m.rootKey, m.authority, hex"0603551d130101ff", hex"0603551d13010100");
        vm.expectRevert();
        verifier.addCertificateAuthority(der);
        der = _forge(m.rootKey, m.authority, hex"30060101ff020100", hex"3006010100020100");
        vm.expectRevert();
        verifier.addCertificateAuthority(der);
    }

    /// @dev Q3: another version, curve or algorithm.
    function test_addIssuer_otherFormat_reverts() public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        bytes memory der = _forge(m.rootKey, m.authority, hex"a003020102", hex"a003020101");
        vm.expectPartialRevert(X509.CertificateUnsupported.selector);
        verifier.addCertificateAuthority(der);
        der = _forge(m.rootKey, m.authority, hex"2a8648ce3d030107", hex"2a8648ce3d030106");
        vm.expectPartialRevert(X509.CertificateUnsupported.selector);
        verifier.addCertificateAuthority(der);
        der = _forge(m.rootKey, m.authority, hex"06082a8648ce3d040302", hex"06082a8648ce3d040303");
        vm.expectPartialRevert(SignedDer.AlgorithmUnsupported.selector);
        verifier.addCertificateAuthority(der);
        der = _forge(m.rootKey, m.authority, hex"03420004", hex"03420002"); // a compressed key
        vm.expectPartialRevert(X509.CertificateUnsupported.selector);
        verifier.addCertificateAuthority(der);
    }

    /* --------------------------------------------------- bytes ----------------------------------------------- */

    function _tryAll(Machine memory m, bytes memory der) private {
        vm.expectRevert();
        verifier.addCertificateAuthority(der);
        vm.expectRevert();
        verifier.addTcbSigner(der);
        vm.expectRevert();
        verifier.addPck(der, m.authorityId);
        vm.expectRevert();
        verifier.refreshRootCrl(der);
        vm.expectRevert();
        verifier.refreshPckCrl(m.authorityId, der);
    }

    /// @dev Q3: garbage in any of the five.
    function testFuzz_any_garbage_reverts(bytes memory der) public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        _tryAll(m, der);
        _tryAll(m, _tlv(0x30, der));
    }

    /// @dev Q3: garbage that the root, and every other key, signed.
    function testFuzz_any_signedGarbage_reverts(bytes memory content) public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        _tryAll(m, _wrap(m.rootKey, content));
        _tryAll(m, _wrap(m.rootKey, _tlv(0x30, content)));
        _tryAll(m, _wrap(m.authorityKey, _tlv(0x30, content)));
    }

    /// @dev Q3: a changed byte in anything signed, and the signature, is refused.
    function testFuzz_any_byteFlipped_reverts(uint8 which, uint16 place, uint8 bit) public {
        Machine memory m = _machine(SGX);
        vm.warp(m.now_);
        verifier = _deployVerifier(m.rootX, m.rootY);
        bytes memory der = which % 5 == 0
            ? m.rootCrl
            : which % 5 == 1 ? m.authority : which % 5 == 2 ? m.signer : which % 5 == 3 ? m.pck : m.pckCrl;
        der[place % der.length] ^= bytes1(uint8(1) << bit % 8);
        if (which % 5 == 0) {
            vm.expectRevert();
            verifier.refreshRootCrl(der);
            return;
        }
        verifier.refreshRootCrl(m.rootCrl);
        if (which % 5 == 1) {
            vm.expectRevert();
            verifier.addCertificateAuthority(der);
        } else if (which % 5 == 2) {
            vm.expectRevert();
            verifier.addTcbSigner(der);
        } else {
            verifier.addCertificateAuthority(m.authority);
            vm.expectRevert();
            if (which % 5 == 3) verifier.addPck(der, m.authorityId);
            else verifier.refreshPckCrl(m.authorityId, der);
        }
    }

    /// @dev Q3: signed bytes changed and signed again never pass for something that they are not: whatever is accepted has
    /// the key, the validity and the platform that it had.
    function testFuzz_addPck_contentChangedAndSigned_neverAnotherRole(uint16 place, uint8 value) public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        bytes memory content = _signedPart(m.pck);
        content[place % content.length] = bytes1(value);
        bytes memory der = _wrap(m.authorityKey, content);
        vm.expectRevert();
        verifier.addCertificateAuthority(der);
        vm.expectRevert();
        verifier.addTcbSigner(der);
        vm.expectRevert();
        verifier.refreshPckCrl(m.authorityId, der);
    }

    /// @dev Q3: nothing follows a certificate, inside or outside.
    function testFuzz_any_trailingBytes_revert(bytes memory tail) public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        vm.assume(tail.length != 0);
        vm.expectRevert();
        verifier.addPck(bytes.concat(m.pck, tail), m.authorityId);
        vm.expectRevert();
        verifier.refreshPckCrl(m.authorityId, bytes.concat(m.pckCrl, tail));
    }

    /// @dev Q3: the SGX extension is read to its end, and every part of it once.
    function testFuzz_addPck_sgxExtensionMalformed_reverts(uint8 which) public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        bytes memory prefix = hex"060a2a864886f84d010d01";
        bytes memory inner = hex"060b2a864886f84d010d0102";
        bytes memory needle;
        bytes memory replacement;
        which = uint8(bound(which, 0, 5));
        if (which == 0) (needle, replacement) = (bytes.concat(prefix, hex"01"), bytes.concat(prefix, hex"03"));
        if (which == 1) (needle, replacement) = (bytes.concat(prefix, hex"04"), bytes.concat(prefix, hex"09"));
        if (which == 2) (needle, replacement) = (bytes.concat(inner, hex"05"), bytes.concat(inner, hex"04"));
        if (which == 3) (needle, replacement) = (bytes.concat(inner, hex"11"), bytes.concat(inner, hex"10"));
        if (which == 4) (needle, replacement) = (bytes.concat(prefix, hex"0104"), bytes.concat(prefix, hex"0102"));
        if (which == 5) (needle, replacement) = (bytes.concat(inner, hex"010201"), bytes.concat(inner, hex"010401"));
        bytes memory der = _forge(m.authorityKey, m.pck, needle, replacement);
        vm.expectRevert();
        verifier.addPck(der, m.authorityId);
    }

    /// @dev Q3: a component SVN is one byte, as INTEGER of at most two.
    function test_addPck_negativeSvn_reverts() public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        bytes memory inner = hex"060b2a864886f84d010d010201020103";
        bytes memory der = _forge(m.authorityKey, m.pck, inner, hex"060b2a864886f84d010d010201020183");
        vm.expectRevert();
        verifier.addPck(der, m.authorityId);
    }

    /* ---------------------------------------------------- time ----------------------------------------------- */

    /// @dev Q4: not before, not after.
    function test_add_outsideValidity_reverts() public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        // 20500101000000Z in GeneralizedTime would be longer; UTCTime 491231235959Z becomes 2025-11-23.
        bytes memory expired = _forge(m.authorityKey, m.pck, "491231235959Z", "251123235959Z");
        vm.expectPartialRevert(X509.CertificateExpired.selector);
        verifier.addPck(expired, m.authorityId);
        bytes memory early = _forge(m.authorityKey, m.pck, "180521104510Z", "251125104510Z");
        vm.expectPartialRevert(X509.CertificateNotYetValid.selector);
        verifier.addPck(early, m.authorityId);
        bytes[5] memory impossible =
            [bytes("251301000000Z"), "250230000000Z", "250101240000Z", "250101000060Z", "25010100000:Z"];
        for (uint256 i; i < 5; ++i) {
            bytes memory der = _forge(m.authorityKey, m.pck, "180521104510Z", impossible[i]);
            vm.expectRevert();
            verifier.addPck(der, m.authorityId);
        }
    }

    /// @dev Q4: a PCK counts no longer than its certificate, nor than its authority's.
    function test_verify_pckExpired_reverts() public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        bytes memory pck = _forge(m.authorityKey, m.pck, "491231235959Z", "251130000000Z");
        verifier.addPck(pck, m.authorityId);
        verifier.refreshPckCrl(m.authorityId, m.pckCrl);
        verifier.refreshTcbInfo(m.tcbInfo, m.tcbInfoSignature, m.signerId);
        verifier.refreshQeIdentity(m.qeIdentity, m.qeIdentitySignature, m.signerId);
        assertEq(verifier.verify(m.evidence).validUntil, 1_764_460_800);
        vm.warp(1_764_460_801);
        _refuse(m.evidence, abi.encodeWithSelector(IDcapVerifier.PckExpired.selector, 1_764_460_800));
    }

    /// @dev Q4: an authority, and a TCB signer, that has expired is trusted with nothing new.
    function test_refresh_issuerExpired_reverts() public {
        Machine memory m = _machine(SGX);
        vm.warp(m.now_);
        verifier = _deployVerifier(m.rootX, m.rootY);
        verifier.refreshRootCrl(m.rootCrl);
        verifier.addCertificateAuthority(_forge(m.rootKey, m.authority, "491231235959Z", "251130000000Z"));
        verifier.addTcbSigner(_forge(m.rootKey, m.signer, "491231235959Z", "251130000000Z"));
        verifier.addPck(m.pck, m.authorityId);
        verifier.refreshPckCrl(m.authorityId, m.pckCrl);
        verifier.refreshTcbInfo(m.tcbInfo, m.tcbInfoSignature, m.signerId);
        verifier.refreshQeIdentity(m.qeIdentity, m.qeIdentitySignature, m.signerId);
        assertEq(verifier.verify(m.evidence).validUntil, 1_764_460_800);
        vm.warp(1_764_460_801);
        vm.expectPartialRevert(IDcapVerifier.IssuerExpired.selector);
        verifier.addPck(m.pck, m.authorityId);
        vm.expectPartialRevert(IDcapVerifier.IssuerExpired.selector);
        verifier.refreshPckCrl(m.authorityId, m.pckCrl);
        vm.expectPartialRevert(IDcapVerifier.IssuerExpired.selector);
        verifier.refreshTcbInfo(m.tcbInfo, m.tcbInfoSignature, m.signerId);
    }

    /// @dev Q5: the same certificate again, or an older one for the same key, changes nothing.
    function test_add_notNewer_reverts() public {
        Machine memory m = _prepared(SGX);
        bytes memory cause = abi.encodeWithSelector(IDcapVerifier.NotNewer.selector, 1_526_899_510, 1_526_899_510);
        vm.expectRevert(cause);
        verifier.addCertificateAuthority(m.authority);
        vm.expectRevert(cause);
        verifier.addTcbSigner(m.signer);
        vm.expectRevert(cause);
        verifier.addPck(m.pck, m.authorityId);
        bytes memory older = _forge(m.authorityKey, m.pck, "180521104510Z", "180521104509Z");
        vm.expectPartialRevert(IDcapVerifier.NotNewer.selector);
        verifier.addPck(older, m.authorityId);
        bytes memory newer = _forge(m.authorityKey, m.pck, "180521104510Z", "180521104511Z");
        assertEq(verifier.addPck(newer, m.authorityId), m.pckId);
    }

    /// @dev Q2: what an authority signs names it.
    function test_addPck_issuerOtherName_reverts() public {
        Machine memory m = _prepared(SGX);
        bytes memory der = _forge(m.authorityKey, m.pck, "Intel SGX PCK Platform CA", "Intel SGX PCK Platform CB");
        vm.expectPartialRevert(IDcapVerifier.IssuerNameMismatch.selector);
        verifier.addPck(der, m.authorityId);
        bytes memory list = _forge(m.authorityKey, m.pckCrl, "Intel SGX PCK Platform CA", "Intel SGX PCK Platform CB");
        vm.expectPartialRevert(IDcapVerifier.IssuerNameMismatch.selector);
        verifier.refreshPckCrl(m.authorityId, list);
    }

    /* ---------------------------------------------- revocation lists ----------------------------------------- */

    /// @dev Q5: a list goes forward only; the same one, or an older, would bring back what was revoked since.
    function test_refreshCrl_notNewer_reverts() public {
        Machine memory m = _prepared(SGX);
        vm.expectPartialRevert(IDcapVerifier.NotNewer.selector);
        verifier.refreshRootCrl(m.rootCrl);
        vm.expectPartialRevert(IDcapVerifier.NotNewer.selector);
        verifier.refreshPckCrl(m.authorityId, m.pckCrl);
    }

    /// @dev Q4: a list of another time, or of another issuer.
    function test_refreshCrl_outsideValidityOrOtherIssuer_reverts() public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        vm.expectRevert(abi.encodeWithSelector(SignedDer.SignatureWrong.selector));
        verifier.refreshPckCrl(m.authorityId, m.rootCrl);
        vm.expectRevert(abi.encodeWithSelector(SignedDer.SignatureWrong.selector));
        verifier.refreshRootCrl(m.pckCrl);
        vm.expectRevert(abi.encodeWithSelector(IDcapVerifier.CertificateAuthorityUnknown.selector, m.signerId));
        verifier.refreshPckCrl(m.signerId, m.pckCrl);
        verifier = _deployVerifier(m.rootX, m.rootY);
        vm.warp(m.now_ - 2 days);
        vm.expectPartialRevert(Crl.CrlNotYetValid.selector);
        verifier.refreshRootCrl(m.rootCrl);
        vm.warp(m.now_ + 30 days);
        vm.expectPartialRevert(Crl.CrlExpired.selector);
        verifier.refreshRootCrl(m.rootCrl);
        vm.expectPartialRevert(IDcapVerifier.CollateralNotCurrent.selector);
        verifier.addTcbSigner(m.signer);
    }

    /// @dev Q3: a list that is not complete says so in critical extensions, and is refused.
    function test_refreshCrl_criticalExtension_reverts() public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        // Of the list's number, 0603551d14 0403 020101, the identifier and a critical flag make five bytes more: take
        // the place of the other extension, the issuer's key identifier.
        bytes memory content = _signedPart(m.pckCrl);
        uint256 place = LibBytes.indexOf(content, hex"a02f302d");
        bytes memory extension = _tlv(0x30, hex"0603551d1b0101ff0403020101"); // a delta list
        bytes memory inner = bytes.concat(LibBytes.slice(content, 3, place), _tlv(0xa0, _tlv(0x30, extension)));
        bytes memory list = _wrap(m.authorityKey, _tlv(0x30, inner));
        vm.expectPartialRevert(X509.ExtensionUnknown.selector);
        verifier.refreshPckCrl(m.authorityId, list);
        bytes memory old = _forge(m.authorityKey, m.pckCrl, hex"020101300a", hex"020100300a"); // version 1
        vm.expectPartialRevert(Crl.CrlUnsupported.selector);
        verifier.refreshPckCrl(m.authorityId, old);
    }
}
