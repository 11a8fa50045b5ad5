// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {DcapFixture} from "../DcapFixture.sol";
import {LibBytes} from "solady/utils/LibBytes.sol";
import {LibString} from "solady/utils/LibString.sol";

import {CollateralParser} from "contracts/attestation/CollateralParser.sol";
import {CollateralText} from "contracts/attestation/Collateral.sol";
import {Json} from "contracts/attestation/Json.sol";
import {SvnLevels} from "contracts/attestation/SvnLevels.sol";
import {TcbInfo} from "contracts/attestation/TcbInfo.sol";
import {TcbLevels} from "contracts/attestation/TcbLevels.sol";
import {IDcapVerifier} from "contracts/interfaces/IDcapVerifier.sol";
import {AdvisorySetLibrary} from "contracts/types/AdvisorySet.sol";
import {Attestation} from "contracts/types/Attestation.sol";

/// @notice Intel's JSON documents: which are read, how, and which are refused though properly signed.
/// forge-config: default.fuzz.runs = 64
contract DcapDocumentsTest is DcapFixture {
    bytes private constant ISSUED = '"issueDate":"2025-11-23T16:00:00Z"';
    bytes private constant NEXT = '"nextUpdate":"2025-12-23T16:00:00Z"';
    bytes private constant NEWER = '"issueDate":"2025-11-23T16:00:01Z"';

    /// @dev The document a second newer, so that it may replace the one of the fixture.
    function _newer(bytes memory text) private pure returns (bytes memory) {
        return _swap(text, ISSUED, NEWER);
    }

    function _refuseTcbInfo(Machine memory m, bytes memory text, bytes4 cause) private {
        bytes memory signature = _sign(m.signerKey, text);
        if (cause == 0) vm.expectRevert();
        else vm.expectPartialRevert(cause);
        verifier.refreshTcbInfo(text, signature, m.signerId);
    }

    function _refuseQeIdentity(Machine memory m, bytes memory text, bytes4 cause) private {
        bytes memory signature = _sign(m.signerKey, text);
        if (cause == 0) vm.expectRevert();
        else vm.expectPartialRevert(cause);
        verifier.refreshQeIdentity(text, signature, m.signerId);
    }

    /* -------------------------------------------------- reading ---------------------------------------------- */

    /// @dev Q6: members may come in any order, and unknown ones are passed over, whatever they hold.
    function test_refresh_otherOrderAndUnknownMembers_readsTheSame() public {
        Machine memory m = _prepared(TDX_4);
        string memory unknown =
            '"x":{"a":[1,-2.5e+3,true,false,null,"}]",{"tcbLevels":[]}],"tcbStatus":"Revoked"},"y":[],"z":{},';
        bytes memory text = _newer(m.tcbInfo);
        text = _swap(text, '"id":"TDX",', "");
        text = _swap(
            text, '"tcbLevels":[{"tcb":{"sgx', bytes(string.concat(unknown, '"id":"TDX","tcbLevels":[{"tcb":{"sgx'))
        );
        text = _swap(text, '{"svn":3,', '{"note":"} \xc2\xae","svn":3,');
        text = _swap(text, '"tcbType":0,', "");
        text = bytes.concat(LibBytes.slice(text, 0, text.length - 1), ',"tcbType":0}');
        _bringTcbInfo(m, text);
        text = _swap(_newer(m.qeIdentity), '"version":2,', bytes(string.concat(unknown, '"version":2,')));
        text = _swap(text, '"isvprodid":2,', "");
        text = bytes.concat(LibBytes.slice(text, 0, text.length - 1), ',"isvprodid":2}');
        _bringQeIdentity(m, text);
        assertEq(abi.encode(verifier.verify(m.evidence)), abi.encode(_expected(TDX_4)));
    }

    /// @dev Q6: every member that is read must be there, once.
    function test_refresh_memberMissingOrRepeated_reverts() public {
        Machine memory m = _machine(TDX_4);
        _deploy(m);
        bytes[12] memory names = [
            bytes('"id"'),
            '"version"',
            '"issueDate"',
            '"nextUpdate"',
            '"fmspc"',
            '"pceId"',
            '"tcbType"',
            '"tcbEvaluationDataNumber"',
            '"tdxModule"',
            '"tcbDate"',
            '"tcbStatus"',
            '"pcesvn"'
        ];
        for (uint256 i; i < names.length; ++i) {
            bytes memory other = bytes.concat(names[i]);
            other[1] = "_";
            _refuseTcbInfo(m, _swap(m.tcbInfo, names[i], other), TcbLevels.MembersMissing.selector);
        }
        _refuseTcbInfo(
            m, _swap(m.tcbInfo, '"fmspc":', '"fmspc":"90C0DE000000","fmspc":'), TcbLevels.MemberRepeated.selector
        );
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"svn":3', '"svn":0,"svn":3'), TcbLevels.MemberRepeated.selector);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '{"svn":3', '{"svm":3'), TcbLevels.MembersMissing.selector);
        _refuseTcbInfo(
            m,
            _swap(m.tcbInfo, '"tcbStatus":', '"tcbStatus":"UpToDate","tcbStatus":'),
            TcbLevels.MemberRepeated.selector
        );

        bytes[12] memory identity = [
            bytes('"id"'),
            '"version"',
            '"issueDate"',
            '"nextUpdate"',
            '"tcbEvaluationDataNumber"',
            '"miscselect"',
            '"miscselectMask"',
            '"attributes"',
            '"attributesMask"',
            '"mrsigner"',
            '"isvprodid"',
            '"tcbLevels"'
        ];
        for (uint256 i; i < identity.length; ++i) {
            bytes memory other = bytes.concat(identity[i]);
            other[1] = "_";
            _refuseQeIdentity(m, _swap(m.qeIdentity, identity[i], other), TcbLevels.MembersMissing.selector);
        }
        _refuseQeIdentity(
            m, _swap(m.qeIdentity, '"isvprodid":', '"isvprodid":1,"isvprodid":'), TcbLevels.MemberRepeated.selector
        );
        _refuseQeIdentity(m, _swap(m.qeIdentity, '"isvsvn":8', '"isvsvm":8'), TcbLevels.MembersMissing.selector);
    }

    /// @dev Q6: space between tokens, escapes, and anything else that Intel does not write.
    function test_refresh_notAsIntelWrites_reverts() public {
        Machine memory m = _machine(TDX_4);
        _deploy(m);
        bytes4 malformed = Json.JsonMalformed.selector;
        _refuseTcbInfo(m, _swap(m.tcbInfo, '{"id"', '{ "id"'), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"version":3', '"version": 3'), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"version":3', '"version":03'), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"version":3', '"version":3.0'), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"version":3', '"version":-3'), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"version":3', '"version":"3"'), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"svn":3', '"svn":256'), Json.NumberTooLarge.selector);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"svn":3', '"svn":99999999999999999999999999999999999'), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"pcesvn":13', '"pcesvn":65536'), Json.NumberTooLarge.selector);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"id":"TDX"', '"id":"T\\u0044X"'), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"id":"TDX"', '"i\\d":"TDX","id":"TDX"'), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"id":"TDX"', '"id":"TDX\x00"'), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"fmspc":"90C0DE000000"', '"fmspc":"90C0DE00000"'), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"fmspc":"90C0DE000000"', '"fmspc":"90C0DG000000"'), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"fmspc":"90C0DE000000"', '"fmspc":"90C0D@000000"'), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"fmspc":"90C0DE000000"', '"fmspc":"90C0D:000000"'), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, "T16:00:00Z", " 16:00:00Z"), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, "T16:00:00Z", "T16:00:00+"), malformed);
        _refuseTcbInfo(m, _swap(m.tcbInfo, "2025-11-23T", "2025-02-30T"), 0);
        _refuseTcbInfo(m, _swap(m.tcbInfo, "2025-11-23T", "2O25-11-23T"), 0);
        _refuseTcbInfo(m, bytes.concat(m.tcbInfo, "x"), malformed);
        _refuseTcbInfo(m, bytes.concat(m.tcbInfo, "{}"), malformed);
        _refuseTcbInfo(m, LibBytes.slice(m.tcbInfo, 0, m.tcbInfo.length - 1), malformed);
        _refuseTcbInfo(m, bytes.concat("[", m.tcbInfo, "]"), malformed);
        _refuseTcbInfo(m, "{}", TcbLevels.MembersMissing.selector);
        _refuseTcbInfo(m, "", malformed);
        _refuseQeIdentity(m, "{}", TcbLevels.MembersMissing.selector);
        _refuseQeIdentity(m, bytes.concat(m.qeIdentity, "x"), malformed);
    }

    /// @dev Q6: hexadecimal digits of either case, and no others.
    function testFuzz_refresh_hexadecimal_readsBothCases(bytes6 fmspc, bool upper) public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        string memory digits = LibString.toHexStringNoPrefix(abi.encodePacked(fmspc));
        if (upper) digits = LibString.upper(digits);
        _bringTcbInfo(m, _swap(m.tcbInfo, "90C0DE000000", bytes(digits)));
        assertEq(verifier.tcbInfo(uint48(fmspc), 0, 0).number, 18);
    }

    /// @dev Q6.
    function testFuzz_refresh_notHexadecimal_reverts(bytes12 digits) public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        bool isHexadecimal = true;
        for (uint256 i; i < 12; ++i) {
            bytes1 c = digits[i];
            bool isDigit = (c >= "0" && c <= "9") || (c >= "a" && c <= "f") || (c >= "A" && c <= "F");
            if (!isDigit) isHexadecimal = false;
        }
        vm.assume(!isHexadecimal);
        _refuseTcbInfo(m, _swap(m.tcbInfo, "90C0DE000000", abi.encodePacked(digits)), 0);
    }

    /// @dev Q6: a document that is about something else, or of another version, or kind.
    function test_refresh_otherSubject_reverts() public {
        Machine memory m = _machine(TDX_4);
        _deploy(m);
        _refuseTcbInfo(m, m.qeIdentity, 0);
        _refuseQeIdentity(m, m.tcbInfo, 0);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"id":"TDX"', '"id":"TDY"'), TcbInfo.IdUnknown.selector);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"id":"TDX"', '"id":"SGX"'), TcbInfo.TdxComponentsWrong.selector);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"version":3', '"version":2'), TcbInfo.VersionUnsupported.selector);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"tcbType":0', '"tcbType":1'), TcbInfo.TcbTypeUnsupported.selector);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '"TDX_03"', '"TDY_03"'), TcbInfo.IdUnknown.selector);
        _refuseTcbInfo(m, _swap(m.tcbInfo, ',{"svn":0}', ""), TcbInfo.ComponentsWrong.selector);
        _refuseTcbInfo(m, _swap(m.tcbInfo, ',{"svn":0}', ',{"svn":0},{"svn":0}'), TcbInfo.ComponentsWrong.selector);
        _refuseQeIdentity(m, _swap(m.qeIdentity, '"id":"TD_QE"', '"id":"QVE"'), TcbInfo.IdUnknown.selector);
        _refuseQeIdentity(m, _swap(m.qeIdentity, '"version":2', '"version":1'), TcbInfo.VersionUnsupported.selector);
        Machine memory sgx = _machine(SGX);
        _refuseTcbInfo(sgx, _swap(sgx.tcbInfo, '"id":"SGX"', '"id":"TDX"'), TcbLevels.MembersMissing.selector);
        _refuseQeIdentity(sgx, _swap(sgx.qeIdentity, '"version":2', '"version":3'), TcbInfo.VersionUnsupported.selector);
    }

    /// @dev Q7: levels come best first; otherwise the first that matches need not be the best.
    function test_refresh_levelsUnordered_reverts() public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        _refuseTcbInfo(m, _swap(m.tcbInfo, '[{"svn":3}', '[{"svn":1}'), SvnLevels.LevelsUnordered.selector);
        bytes memory levels =
            '[{"tcb":{"isvsvn":8},"tcbDate":"2024-03-13T00:00:00Z","tcbStatus":"UpToDate"},{"tcb":{"isvsvn":9},';
        bytes memory text = _swap(m.qeIdentity, '[{"tcb":{"isvsvn":8},', levels);
        _refuseQeIdentity(m, text, SvnLevels.LevelsUnordered.selector);
        uint256 place = LibBytes.indexOf(m.qeIdentity, '[{"tcb"');
        text = bytes.concat(LibBytes.slice(m.qeIdentity, 0, place), "[]}");
        _refuseQeIdentity(m, text, SvnLevels.LevelsMissing.selector);
    }

    /// @dev Q7: advisories come out as a set, whatever their order, and each must be one of Intel's numbers.
    function test_refresh_advisories_comeOutAsSet() public {
        Machine memory m = _prepared(SGX);
        bytes memory text = _swap(
            _newer(m.tcbInfo),
            '"tcbStatus":"UpToDate"',
            '"advisoryIDs":["INTEL-SA-00615","INTEL-SA-00289","INTEL-SA-00615","INTEL-SA-32767"],"tcbStatus":"UpToDate"'
        );
        _bringTcbInfo(m, text);
        Attestation memory attestation = verifier.verify(m.evidence);
        assertEq(abi.encode(attestation.advisories), abi.encode(uint256(32_767) << 32 | 615 << 16 | 289));
    }

    /// @dev Q7: Intel's notices are advisories, too, and have numbers of their own.
    function test_refresh_notices_comeOutAsAdvisories() public {
        Machine memory m = _prepared(SGX);
        _bringTcbInfo(
            m, _withFirst(m, '"UpToDate","advisoryIDs":["INTEL-DOC-10003","INTEL-SA-00615","INTEL-DOC-10000"]')
        );
        Attestation memory attestation = verifier.verify(m.evidence);
        assertEq(abi.encode(attestation.advisories), abi.encode(uint256(0x8003) << 32 | 0x8000 << 16 | 615));
    }

    /// @dev Q7: what is not understood of one level does not make the document unusable: quotes of that level are refused,
    /// others are not.
    function test_refresh_levelNotUnderstood_refusesThatLevelOnly() public {
        string[10] memory wrong = [
            "INTEL-SA-0615",
            "INTEL-SA-000615",
            "INTEL-SA-00000",
            "INTEL-SA-32768",
            "INTEL-SA-65536",
            "INTEL_SA-00615",
            "INTEL-SA-0061x",
            "INTEL-DOC-20000",
            "INTEL-DOC-1000x",
            "a new family of advisories with a long name"
        ];
        for (uint256 i; i < wrong.length; ++i) {
            Machine memory m = _prepared(SGX);
            bytes memory good = _newer(m.tcbInfo);
            bytes memory bad = bytes(string.concat('"UpToDate","advisoryIDs":["', wrong[i], '"]'));
            uint256 snapshot = vm.snapshotState();
            _bringTcbInfo(m, _withFirst(m, bad));
            _refuse(m.evidence, abi.encodeWithSelector(TcbLevels.LevelUnclear.selector));
            vm.revertToState(snapshot);
            bad = bytes(string.concat('"OutOfDate","advisoryIDs":["', wrong[i], '"]'));
            _bringTcbInfo(m, _swap(good, '"OutOfDate"', bad));
            verifier.verify(m.evidence);
            vm.revertToState(snapshot);
        }
    }

    /// @dev Q7: a status that is not understood counts as revoked.
    function test_refresh_statusNotUnderstood_isRevoked() public {
        string[3] memory wrong = ["Fine", "UpToDat", "ConfigurationAndSWHardeningNeedeX"];
        for (uint256 i; i < wrong.length; ++i) {
            Machine memory m = _prepared(SGX);
            uint256 snapshot = vm.snapshotState();
            _bringTcbInfo(m, _withFirst(m, bytes(string.concat('"', wrong[i], '"'))));
            _refuse(m.evidence, abi.encodeWithSelector(IDcapVerifier.PlatformRevoked.selector));
            vm.revertToState(snapshot);
        }
    }

    /// @dev A newer TCB info whose first level has this status, and what follows it.
    function _withFirst(Machine memory m, bytes memory status) private pure returns (bytes memory) {
        return _swap(_newer(m.tcbInfo), '"tcbStatus":"UpToDate"', bytes.concat('"tcbStatus":', status));
    }

    /// @dev Q7: more than a set can hold are not dropped: quotes of that level are refused, others are not.
    function testFuzz_verify_tooManyAdvisories_reverts(uint8 count, bool descending) public {
        Machine memory m = _prepared(SGX);
        count = uint8(bound(count, 1, 40));
        string memory list;
        for (uint256 i; i < count; ++i) {
            uint256 number = 10_000 + (descending ? count - i : i);
            list = string.concat(list, i == 0 ? "" : ",", '"INTEL-SA-', vm.toString(number), '"');
        }
        bytes memory text = _swap(
            _newer(m.tcbInfo),
            '"tcbStatus":"UpToDate"',
            bytes(string.concat('"tcbStatus":"UpToDate","advisoryIDs":[', list, "]"))
        );
        _bringTcbInfo(m, text);
        if (count > 16) vm.expectRevert(TcbLevels.LevelUnclear.selector);
        verifier.verify(m.evidence);
    }

    /// @dev Q7: the union over platform and quoting enclave is what must fit.
    function test_verify_tooManyAdvisoriesTogether_reverts() public {
        Machine memory m = _prepared(SGX);
        string memory list = '"INTEL-SA-00001"';
        for (uint256 i = 2; i <= 16; ++i) {
            list = string.concat(list, ',"INTEL-SA-', i < 10 ? "0000" : "000", vm.toString(i), '"');
        }
        _bringTcbInfo(
            m,
            _swap(
                _newer(m.tcbInfo),
                '"tcbStatus":"UpToDate"',
                bytes(string.concat('"tcbStatus":"UpToDate","advisoryIDs":[', list, "]"))
            )
        );
        verifier.verify(m.evidence);
        _bringQeIdentity(
            m,
            _swap(
                _newer(m.qeIdentity),
                '"tcbStatus":"UpToDate"',
                '"tcbStatus":"UpToDate","advisoryIDs":["INTEL-SA-00017"]'
            )
        );
        _refuse(m.evidence, abi.encodeWithSelector(AdvisorySetLibrary.TooManyAdvisories.selector));
    }

    /* -------------------------------------------------- meaning ---------------------------------------------- */

    /// @dev Q17: a revoked level is never attested, be it the platform's or the quoting enclave's.
    function test_verify_revokedLevel_reverts() public {
        Machine memory m = _prepared(SGX);
        bytes memory cause = abi.encodeWithSelector(IDcapVerifier.PlatformRevoked.selector);
        _bringTcbInfo(m, _swap(_newer(m.tcbInfo), '"tcbStatus":"UpToDate"', '"tcbStatus":"Revoked"'));
        _refuse(m.evidence, cause);
        m = _prepared(SGX);
        _bringQeIdentity(m, _swap(_newer(m.qeIdentity), '"tcbStatus":"UpToDate"', '"tcbStatus":"Revoked"'));
        _refuse(m.evidence, cause);
    }

    /// @dev Q17, A1: a quoting enclave that is out of date makes the platform so, from when it was.
    function test_verify_qeOutOfDate_mergesItsLevel() public {
        Machine memory m = _prepared(SGX);
        verifier.cacheAttestationKey(m.evidence);
        bytes memory text = _swap(
            _newer(m.qeIdentity),
            '[{"tcb":{"isvsvn":8},"tcbDate":"2024-03-13T00:00:00Z","tcbStatus":"UpToDate"}]',
            '[{"tcb":{"isvsvn":10},"tcbDate":"2025-01-01T00:00:00Z","tcbStatus":"UpToDate"},'
            '{"tcb":{"isvsvn":9},"tcbDate":"2024-06-01T00:00:00Z","tcbStatus":"OutOfDate"},'
            '{"tcb":{"isvsvn":8},"tcbDate":"2024-03-13T00:00:00Z","tcbStatus":"OutOfDate","advisoryIDs":["INTEL-SA-00615"]}]'
        );
        _bringQeIdentity(m, text);
        Attestation memory expected = _expected(SGX);
        Attestation memory attestation = verifier.verify(m.evidence);
        assertEq(uint8(attestation.status), 4);
        assertEq(attestation.outOfDateSince, 1_717_200_000);
        assertEq(abi.encode(attestation.advisories), abi.encode(615));
        assertEq(attestation.platform, expected.platform);
        assertEq(abi.encode(verifier.verify(m.shortEvidence)), abi.encode(attestation));
    }

    /// @dev Q16: if Intel's identity of the quoting enclave becomes another, keys cached under the old one do not count.
    function test_verify_identityChanged_cachedKeyNoLongerCounts() public {
        Machine memory m = _prepared(SGX);
        verifier.cacheAttestationKey(m.evidence);
        _bringQeIdentity(m, _newer(m.qeIdentity));
        verifier.verify(m.shortEvidence);
        bytes memory text = _swap(m.qeIdentity, ISSUED, '"issueDate":"2025-11-23T16:00:02Z"');
        _bringQeIdentity(m, _swap(text, '"isvprodid":1', '"isvprodid":3'));
        _refuse(m.shortEvidence, IDcapVerifier.QeIdentityMismatch.selector);
        _refuse(m.evidence, IDcapVerifier.QeIdentityMismatch.selector);
    }

    /// @dev Q8: TCB info of another model, PCE or TEE is not this platform's.
    function test_verify_tcbInfoOfOtherPlatform_reverts() public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        verifier.refreshPckCrl(m.authorityId, m.pckCrl);
        verifier.addPck(m.pck, m.authorityId);
        verifier.refreshQeIdentity(m.qeIdentity, m.qeIdentitySignature, m.signerId);
        Machine memory tdx = _machine(TDX_4);
        verifier.refreshTcbInfo(tdx.tcbInfo, tdx.tcbInfoSignature, m.signerId);
        _bringTcbInfo(m, _swap(m.tcbInfo, "90C0DE000000", bytes("90C0DE000001")));
        _bringTcbInfo(m, _swap(m.tcbInfo, '"pceId":"0000"', '"pceId":"0001"'));
        _refuse(m.evidence, IDcapVerifier.CollateralNotCurrent.selector);
        verifier.refreshTcbInfo(m.tcbInfo, m.tcbInfoSignature, m.signerId);
        verifier.verify(m.evidence);
    }

    /* -------------------------------------------------- forward ---------------------------------------------- */

    /// @dev Q5: only newer documents, of the same evaluation or a later.
    function test_refresh_rollback_reverts() public {
        Machine memory m = _prepared(SGX);
        vm.expectPartialRevert(IDcapVerifier.NotNewer.selector);
        verifier.refreshTcbInfo(m.tcbInfo, m.tcbInfoSignature, m.signerId);
        vm.expectPartialRevert(IDcapVerifier.NotNewer.selector);
        verifier.refreshQeIdentity(m.qeIdentity, m.qeIdentitySignature, m.signerId);
        bytes memory older = '"issueDate":"2025-11-23T15:59:59Z"';
        _refuseTcbInfo(m, _swap(m.tcbInfo, ISSUED, older), IDcapVerifier.NotNewer.selector);
        _refuseQeIdentity(m, _swap(m.qeIdentity, ISSUED, older), IDcapVerifier.NotNewer.selector);
        bytes memory lower = '"tcbEvaluationDataNumber":17';
        bytes memory text = _swap(_newer(m.tcbInfo), '"tcbEvaluationDataNumber":18', lower);
        _refuseTcbInfo(m, text, IDcapVerifier.EvaluationNumberLower.selector);
        text = _swap(_newer(m.qeIdentity), '"tcbEvaluationDataNumber":18', lower);
        _refuseQeIdentity(m, text, IDcapVerifier.EvaluationNumberLower.selector);
    }

    /// @dev Q5: of two documents the older evaluation is attested.
    function test_verify_evaluations_theOlderCounts() public {
        Machine memory m = _prepared(SGX);
        _bringTcbInfo(m, _swap(_newer(m.tcbInfo), '"tcbEvaluationDataNumber":18', '"tcbEvaluationDataNumber":20'));
        assertEq(verifier.verify(m.evidence).evaluationNumber, 18);
        _bringQeIdentity(m, _swap(_newer(m.qeIdentity), '"tcbEvaluationDataNumber":18', '"tcbEvaluationDataNumber":19'));
        assertEq(verifier.verify(m.evidence).evaluationNumber, 19);
    }

    /// @dev Q4: documents of another time.
    function test_refresh_outsideValidity_reverts() public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        bytes memory future = '"issueDate":"2025-11-24T16:00:01Z"';
        _refuseTcbInfo(m, _swap(m.tcbInfo, ISSUED, future), IDcapVerifier.DocumentNotYetValid.selector);
        _refuseQeIdentity(m, _swap(m.qeIdentity, ISSUED, future), IDcapVerifier.DocumentNotYetValid.selector);
        bytes memory past = '"nextUpdate":"2025-11-24T15:59:59Z"';
        _refuseTcbInfo(m, _swap(m.tcbInfo, NEXT, past), IDcapVerifier.DocumentExpired.selector);
        _refuseQeIdentity(m, _swap(m.qeIdentity, NEXT, past), IDcapVerifier.DocumentExpired.selector);
    }

    /// @dev Q5: a refresh that changes nothing but dates writes nothing but dates, and verifies as before.
    function test_refresh_sameContent_reusesIt() public {
        Machine memory m = _prepared(TDX_4);
        uint64 nonce = vm.getNonce(address(verifier));
        _bringTcbInfo(m, _newer(m.tcbInfo));
        _bringQeIdentity(m, _newer(m.qeIdentity));
        assertEq(vm.getNonce(address(verifier)), nonce);
        assertEq(abi.encode(verifier.verify(m.evidence)), abi.encode(_expected(TDX_4)));
    }

    /* ---------------------------------------------------- fuzz ----------------------------------------------- */

    /// @dev Q2: nothing that the signer did not sign.
    function testFuzz_refresh_unsigned_reverts(bytes memory json, bytes memory signature) public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        vm.expectRevert();
        verifier.refreshTcbInfo(json, signature, m.signerId);
        vm.expectRevert();
        verifier.refreshQeIdentity(json, signature, m.signerId);
        vm.expectPartialRevert(CollateralParser.DocumentSignatureWrong.selector);
        verifier.refreshTcbInfo(m.tcbInfo, new bytes(64), m.signerId);
        vm.assume(signature.length != 64);
        vm.expectPartialRevert(CollateralParser.DocumentSignatureLengthWrong.selector);
        verifier.refreshTcbInfo(m.tcbInfo, signature, m.signerId);
    }

    /// @dev Q6: garbage, though signed.
    function testFuzz_refresh_signedGarbage_reverts(bytes memory json) public {
        Machine memory m = _machine(SGX);
        _deploy(m);
        _refuseTcbInfo(m, json, 0);
        _refuseQeIdentity(m, json, 0);
        _refuseTcbInfo(m, bytes.concat("{", json, "}"), 0);
    }

    /// @dev Q6: a document with one character changed, and signed again, is refused or read; it never does anything else.
    function testFuzz_refresh_characterChanged_refusedOrRead(uint16 place, bytes1 value) public {
        Machine memory m = _machine(TDX_4);
        _deploy(m);
        bytes memory text = m.tcbInfo;
        text[place % text.length] = value;
        bytes memory signature = _sign(m.signerKey, text);
        (bool accepted,) =
            address(verifier).call(abi.encodeCall(verifier.refreshTcbInfo, (text, signature, m.signerId)));
        // What JSON's grammar is made of cannot become something else.
        bytes1 before = m.tcbInfo[place % text.length];
        if (accepted && text[place % text.length] == value) {
            bool isStructure = before == "{" || before == "}" || before == "[" || before == "]" || before == ":";
            assertTrue(!isStructure || before == value, "structure changed");
        }
    }

    /// @dev Q6: where a text ends is told by its length, not by what happens to follow it in calldata.
    function test_parser_bytesBehindTheText_areNotRead() public {
        Machine memory m = _machine(SGX);
        CollateralParser parser = CollateralParser(_deploy("CollateralParser", ""));
        (uint256 x, uint256 y) = vm.publicKeyP256(m.signerKey);
        uint256 cut = m.tcbInfo.length - 1;
        bytes memory text = LibBytes.slice(m.tcbInfo, 0, cut);
        bytes memory call = abi.encodeCall(parser.readTcbInfo, (m.tcbInfo, _sign(m.signerKey, text), x, y));
        // The closing brace is still there, behind the end.
        _put(call, 4 + 128, abi.encode(cut));
        vm.expectRevert();
        this.forward(address(parser), call);
        CollateralText memory whole = parser.readTcbInfo(m.tcbInfo, m.tcbInfoSignature, x, y);
        assertEq(whole.evaluationNumber, 18);
    }

    function forward(address to, bytes calldata data) external view {
        (bool success, bytes memory returned) = to.staticcall(data);
        if (!success) {
            assembly ("memory-safe") {
                revert(add(returned, 0x20), mload(returned))
            }
        }
    }
}
