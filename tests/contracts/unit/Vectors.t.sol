// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Fixture, FullCoprocessor} from "../Fixture.sol";

import {PoolId, PoolLibrary} from "contracts/types/Pool.sol";
import {Program, ProgramId} from "contracts/types/Program.sol";
import {Outcome, Receipt as SignedReceipt} from "contracts/types/Receipt.sol";
import {OpenRequest, RequestId, RequestLibrary, Terms, TermsLibrary} from "contracts/types/Request.sol";
import {Settlement, SettlementLibrary} from "contracts/types/Settlement.sol";

/// @notice V1: every encoding that Solidity and Python share agrees with tests/vectors, which third parties computed.
contract VectorsTest is Fixture {
    string private json;
    string private here; // path of the case in hand

    /// @dev Runs `check` on each case of a file.
    function _each(string memory file, function() internal check) private {
        json = vm.readFile(string.concat("tests/vectors/", file, ".json"));
        uint256 count;
        for (; vm.keyExistsJson(json, string.concat(".cases[", vm.toString(count), "]")); ++count) {
            here = string.concat(".cases[", vm.toString(count), "].");
            check();
        }
        assertGt(count, 2);
    }

    function _uint(string memory key) private view returns (uint256) {
        return vm.parseJsonUint(json, string.concat(here, key));
    }

    function _word(string memory key) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, string.concat(here, key));
    }

    function _address(string memory key) private view returns (address) {
        return vm.parseJsonAddress(json, string.concat(here, key));
    }

    function _bytes(string memory key) private view returns (bytes memory) {
        return vm.parseJsonBytes(json, string.concat(here, key));
    }

    /// @dev V1.
    function test_vectors_pools_agree() public {
        _each("pools", _checkPool);
    }

    function _checkPool() private view {
        PoolId id = PoolLibrary.pack(
            _address("verifier"),
            uint32(_uint("baseFeeGwei")),
            uint32(_uint("gasPriceMwei")),
            uint32(_uint("fuelPriceWei"))
        );
        assertEq(PoolId.unwrap(id), _word("poolId"));
        assertEq(id.verifier(), _address("verifier"));
        assertEq(id.fee(_uint("callbackGas"), uint64(_uint("fuelUsed"))), _uint("fee"));
    }

    /// @dev V1.
    function test_vectors_requests_agree() public {
        _each("requests", _checkRequest);
    }

    function _checkRequest() private view {
        Terms terms = TermsLibrary.pack(
            _uint("nonce"), _uint("createdAt"), _uint("deadline"), _uint("callbackGas"), _uint("maxFeeGwei")
        );
        assertEq(Terms.unwrap(terms), _uint("terms"));
        assertEq(OpenRequest.unwrap(terms.open(_address("consumer"))), _uint("openRequest"));
        assertEq(keccak256(_bytes("input")), _word("inputHash"));
        RequestId id = RequestLibrary.id(
            _address("consumer"),
            ProgramId.wrap(_word("programId")),
            PoolId.wrap(_word("poolId")),
            _word("inputHash"),
            terms,
            _uint("chainId"),
            _address("coprocessor")
        );
        assertEq(RequestId.unwrap(id), _word("requestId"));
    }

    /// @dev V1.
    function test_vectors_programs_agree() public {
        _each("programs", _checkProgram);
    }

    function _checkProgram() private view {
        assertEq(keccak256(_bytes("manifest")), _word("manifestHash"));
        assertEq(keccak256(_bytes("code")), _word("codeHash"));
        Program memory program = Program(uint8(_uint("engine")), _word("manifestHash"), _word("codeHash"));
        assertEq(ProgramId.unwrap(program.id()), _word("programId"));
    }

    /// @dev V1.
    function test_vectors_receipts_agree() public {
        _each("receipts", _checkReceipt);
    }

    function _checkReceipt() private {
        assertEq(keccak256(_bytes("output")), _word("outputHash"));
        SignedReceipt memory receipt = SignedReceipt(
            RequestId.wrap(_word("requestId")),
            Outcome(_uint("outcome")),
            _word("outputHash"),
            uint64(_uint("fuelUsed")),
            _address("payee"),
            _word("context")
        );
        _moveTo(_uint("chainId"), _address("coprocessor"));
        assertEq(coprocessor.receiptDigest(receipt), _word("digest"));
        assertEq(_address("signer"), SIGNER);
        assertEq(_sign(SIGNER_KEY, _word("digest")), _bytes("signature"));
        vm.chainId(31_337);
    }

    /// @dev V1.
    function test_vectors_batches_agree() public {
        _each("batches", _checkBatch);
    }

    function _checkBatch() private {
        bytes32[] memory ids = vm.parseJsonBytes32Array(json, string.concat(here, "requestIds"));
        uint256[] memory outcomes = vm.parseJsonUintArray(json, string.concat(here, "outcomes"));
        bytes32[] memory outputs = vm.parseJsonBytes32Array(json, string.concat(here, "outputHashes"));
        uint256[] memory fuel = vm.parseJsonUintArray(json, string.concat(here, "fuelUsed"));
        address[] memory payees = vm.parseJsonAddressArray(json, string.concat(here, "payees"));
        bytes32[] memory contexts = vm.parseJsonBytes32Array(json, string.concat(here, "contexts"));
        SignedReceipt[] memory receipts = new SignedReceipt[](ids.length);
        for (uint256 i; i < ids.length; ++i) {
            receipts[i] = SignedReceipt(
                RequestId.wrap(ids[i]), Outcome(outcomes[i]), outputs[i], uint64(fuel[i]), payees[i], contexts[i]
            );
        }
        _moveTo(_uint("chainId"), _address("coprocessor"));
        assertEq(coprocessor.batchDigest(receipts), _word("digest"));
        assertEq(_sign(SIGNER_KEY, _word("digest")), _bytes("signature"));
        vm.chainId(31_337);
    }

    /// @dev V1.
    function test_vectors_registrations_agree() public {
        _each("registrations", _checkRegistration);
    }

    function _checkRegistration() private {
        _moveTo(_uint("chainId"), _address("registry"));
        bytes32 reportData =
            coprocessor.reportData(_address("signer"), _word("sealingKey"), _address("operator"), _word("anchor"));
        assertEq(reportData, _word("reportData"));
        vm.chainId(31_337);
    }

    /// @dev V1.
    function test_vectors_settlements_agree() public {
        _each("settlements", _checkSettlement);
    }

    function _checkSettlement() private view {
        bool called = vm.parseJsonBool(json, string.concat(here, "callbackSucceeded"));
        Settlement settlement =
            SettlementLibrary.pack(_uint("fee"), uint64(_uint("fuelUsed")), Outcome(_uint("outcome")), called);
        assertEq(Settlement.unwrap(settlement), _uint("settlement"));
        assertEq(settlement.fee(), _uint("fee"));
        assertEq(settlement.fuelUsed(), _uint("fuelUsed"));
        assertEq(uint8(settlement.outcome()), _uint("outcome"));
        assertEq(settlement.callbackSucceeded(), called);
    }

    /// @dev Puts the coprocessor's code where, and onto the chain which, the vector names.
    function _moveTo(uint256 chainId, address where) private {
        vm.etch(where, address(coprocessor).code);
        coprocessor = FullCoprocessor(where);
        vm.chainId(chainId);
    }
}
