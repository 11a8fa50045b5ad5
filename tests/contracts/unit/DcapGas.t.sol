// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {DcapFixture} from "../DcapFixture.sol";
import {Vm} from "forge-std/Vm.sol";

import {IEnclaveRegistry} from "contracts/interfaces/IEnclaveRegistry.sol";
import {Policy} from "contracts/types/Policy.sol";

/// @notice Q19: whole-transaction gas of attestation, against the budget and the committed snapshot.
/// @dev With development evidence, whose certificates and documents are about as long as Intel's. In isolation each
/// outermost call is a transaction of its own, with its 21,000 and calldata.
/// forge-config: default.isolate = true
contract DcapGasTest is DcapFixture {
    uint256 private constant VERIFY = 105_000;
    uint256 private constant VERIFY_CACHED = 85_000;
    uint256 private constant REGISTER = 165_000;

    /// @dev Nothing is deployed beforehand: evidence is bound to the registry's address, and each zero byte in it saves gas.
    function setUp() public override {
        _readVectors();
    }

    /// @dev Q19.
    function test_verify_eachKind_withinBudget() public {
        _measureVerify(SGX, "sgx_v3");
        _measureVerify(TDX_4, "tdx_v4");
        _measureVerify(TDX_5, "tdx_v5_td10");
        _measureVerify(TDX_5_TD15, "tdx_v5_td15");
    }

    function _measureVerify(uint256 index, string memory kind) private {
        Machine memory m = _prepared(index);
        _verify(m.evidence);
        _record(string.concat("verify_", kind), VERIFY);
        verifier.cacheAttestationKey(m.evidence);
        _verify(m.shortEvidence);
        _record(string.concat("verify_cached_", kind), VERIFY_CACHED);
    }

    /// @dev As a transaction: a call that cannot write is none, and not measured as one.
    function _verify(bytes memory evidence) private {
        (bool success,) = address(verifier).call(abi.encodeCall(verifier.verify, (evidence)));
        assertTrue(success);
    }

    /// @dev Q19.
    function test_register_eachKind_withinBudget() public {
        _measureRegister(SGX, "sgx_v3", 320);
        _measureRegister(TDX_4, "tdx_v4", 520);
        _measureRegister(TDX_5_TD15, "tdx_v5_td15", 520);
    }

    function _measureRegister(uint256 index, string memory kind, uint256 reportDataAt) private {
        Machine memory m = _prepared(index);
        IEnclaveRegistry registry = IEnclaveRegistry(_deploy("EnclaveRegistry", abi.encode(address(this), verifier)));
        Policy memory policy;
        policy.acceptedStatuses = 1;
        registry.approveMeasurement(_expected(index).measurement, policy);
        vm.roll(100);
        address signer = makeAddr(kind);
        bytes32 reportData = registry.reportData(signer, keccak256("sealing"), address(this), blockhash(99));
        _put(m.evidence, _parts(m.evidence).body + reportDataAt, abi.encode(reportData));
        _resign(m);
        registry.register(signer, keccak256("sealing"), address(this), 99, m.evidence);
        _record(string.concat("register_", kind), REGISTER);
        registry.register(signer, keccak256("sealing"), address(this), 99, m.evidence);
        _record(string.concat("renew_", kind), REGISTER);
    }

    /// @dev Q19.
    function test_collateral_eachCall_withinBudget() public {
        Machine memory m = _machine(TDX_4);
        vm.warp(m.now_);
        verifier = _deployVerifier(m.rootX, m.rootY);
        verifier.refreshRootCrl(m.rootCrl);
        _record("refresh_root_crl", 100_000);
        verifier.addCertificateAuthority(m.authority);
        _record("add_certificate_authority", 170_000);
        verifier.addTcbSigner(m.signer);
        _record("add_tcb_signer", 170_000);
        verifier.refreshPckCrl(m.authorityId, m.pckCrl);
        _record("refresh_pck_crl_empty", 100_000);
        verifier.addPck(m.pck, m.authorityId);
        _record("add_pck", 215_000);
        verifier.refreshTcbInfo(m.tcbInfo, m.tcbInfoSignature, m.signerId);
        _record("refresh_tcb_info_2_levels", 550_000);
        verifier.refreshQeIdentity(m.qeIdentity, m.qeIdentitySignature, m.signerId);
        _record("refresh_qe_identity", 200_000);
        verifier.cacheAttestationKey(m.evidence);
        _record("cache_attestation_key", 130_000);
    }

    /// @dev Snapshots gas after the refund, which is what the transaction's receipt shows.
    function _record(string memory name, uint256 budget) private {
        Vm.Gas memory gas = vm.lastCallGas();
        vm.snapshotValue("dcap", name, gas.gasTotalUsed);
        assertLe(gas.gasTotalUsed, budget, name);
    }
}
