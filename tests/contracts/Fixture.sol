// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {TwoStepOwnable} from "contracts/TwoStepOwnable.sol";
import {Delivery, ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";
import {IEnclaveRegistry} from "contracts/interfaces/IEnclaveRegistry.sol";
import {AdvisorySet} from "contracts/types/AdvisorySet.sol";
import {Attestation, MeasurementId} from "contracts/types/Attestation.sol";
import {Policy} from "contracts/types/Policy.sol";
import {PoolId, PoolLibrary} from "contracts/types/Pool.sol";
import {ProgramId} from "contracts/types/Program.sol";
import {Outcome, Receipt as SignedReceipt} from "contracts/types/Receipt.sol";
import {RequestId} from "contracts/types/Request.sol";
import {TcbStatus} from "contracts/types/TcbStatus.sol";

import {CredulousVerifier} from "./CredulousVerifier.sol";
import {Deployment} from "./Deployment.sol";
import {GasMeter} from "./consumers/GasMeter.sol";

/// @notice What all test consumers have in common.
interface Asker {
    function ask(ProgramId program, PoolId pool, bytes memory input, uint32 callbackGas, uint64 wait)
        external
        payable
        returns (RequestId);
}

/// @notice All that a coprocessor answers to.
abstract contract FullCoprocessor is ICoprocessor, IEnclaveRegistry, TwoStepOwnable {}

/// @notice The deployed system with one live enclave, as every suite starts from it. Signatures are real.
abstract contract Fixture is Deployment {
    uint256 internal constant SIGNER_KEY = uint256(keccak256("adyton test signer"));
    bytes32 internal constant SEALING_KEY = keccak256("adyton test sealing key");
    bytes32 internal constant PLATFORM = keccak256("adyton test platform");
    MeasurementId internal constant BUILD = MeasurementId.wrap(keccak256("adyton test build"));
    ProgramId internal constant PROGRAM = ProgramId.wrap(keccak256("adyton test program"));

    uint32 internal constant BASE_FEE_GWEI = 1_000;
    uint32 internal constant GAS_PRICE_MWEI = 2_000;
    uint32 internal constant FUEL_PRICE_WEI = 50;
    uint32 internal constant CALLBACK_GAS = 1_000_000;
    uint256 internal constant MAX_FEE = 0.01 ether;

    address internal immutable OWNER = makeAddr("owner");
    address internal immutable OPERATOR = makeAddr("operator");
    address internal immutable PAYEE = makeAddr("payee");
    address internal immutable STRANGER = makeAddr("stranger");
    address internal immutable SIGNER = vm.addr(SIGNER_KEY);

    CredulousVerifier internal verifier;
    IEnclaveRegistry internal registry;
    FullCoprocessor internal coprocessor;
    PoolId internal pool;

    function setUp() public virtual {
        vm.warp(1_764_000_000);
        vm.roll(1_000);
        verifier = new CredulousVerifier();
        coprocessor = _deployCoprocessor();
        registry = coprocessor;
        pool = PoolLibrary.pack(address(registry), BASE_FEE_GWEI, GAS_PRICE_MWEI, FUEL_PRICE_WEI);
        vm.prank(OWNER);
        registry.approveMeasurement(BUILD, _policy());
        _register(SIGNER);
    }

    function _deployCoprocessor() internal returns (FullCoprocessor) {
        return FullCoprocessor(_deploy("Coprocessor", abi.encode(OWNER, verifier)));
    }

    function _deployRegistry() internal returns (IEnclaveRegistry) {
        return IEnclaveRegistry(_deploy("EnclaveRegistry", abi.encode(OWNER, verifier)));
    }

    function _deployGasMeter() internal returns (GasMeter) {
        return GasMeter(payable(_deploy("GasMeter", abi.encode(coprocessor))));
    }

    /* ------------------------------------------------- policy ------------------------------------------------- */

    /// @dev Up to date, nothing else.
    function _policy() internal pure returns (Policy memory policy) {
        policy.acceptedStatuses = _accept(TcbStatus.UpToDate);
    }

    function _accept(TcbStatus status) internal pure returns (uint8) {
        return uint8(1 << uint256(status));
    }

    function _advisories(uint256 packed) internal pure returns (AdvisorySet) {
        return AdvisorySet.wrap(packed);
    }

    /* ---------------------------------------------- registrations --------------------------------------------- */

    function _register(address signer) internal {
        registry.register(
            signer, SEALING_KEY, OPERATOR, vm.getBlockNumber() - 1, _quote(signer, BUILD, type(uint64).max)
        );
    }

    function _quote(address signer, MeasurementId build, uint64 validUntil) internal view returns (bytes memory) {
        return abi.encode(_attestation(signer, build, validUntil));
    }

    /// @dev What a verifier finds in the quote of an up-to-date enclave that registers `signer` with the newest anchor.
    function _attestation(address signer, MeasurementId build, uint64 validUntil)
        internal
        view
        returns (Attestation memory attestation)
    {
        bytes32 anchor = blockhash(vm.getBlockNumber() - 1);
        attestation.measurement = build;
        attestation.reportData = registry.reportData(signer, SEALING_KEY, OPERATOR, anchor);
        attestation.platform = PLATFORM;
        attestation.validUntil = validUntil;
    }

    /* ------------------------------------------------ requests ------------------------------------------------ */

    /// @dev An hour to answer, `CALLBACK_GAS`, `MAX_FEE`: the ordinary request.
    function _ask(Asker consumer) internal returns (RequestId) {
        return consumer.ask{value: MAX_FEE}(PROGRAM, pool, "input", CALLBACK_GAS, 1 hours);
    }

    function _isOpen(RequestId requestId) internal view returns (bool) {
        return coprocessor.openRequest(requestId, pool).isOpen();
    }

    function _list(address one) internal pure returns (address[] memory list) {
        list = new address[](1);
        list[0] = one;
    }

    /* ------------------------------------------------ receipts ------------------------------------------------ */

    function _delivery(RequestId requestId, bytes memory output) internal pure returns (Delivery memory) {
        return
            Delivery({requestId: requestId, fuelUsed: 123_456, outcome: Outcome.Completed, output: output, context: 0});
    }

    function _receipt(Delivery memory delivery, address payee) internal pure returns (SignedReceipt memory) {
        return SignedReceipt(
            delivery.requestId, delivery.outcome, keccak256(delivery.output), delivery.fuelUsed, payee, delivery.context
        );
    }

    function _sign(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (bytes32 r, bytes32 vs) = vm.signCompact(key, digest);
        return abi.encodePacked(r, vs);
    }

    function _prove(Delivery memory delivery) internal view returns (bytes memory) {
        return _sign(SIGNER_KEY, coprocessor.receiptDigest(_receipt(delivery, PAYEE)));
    }

    function _prove(Delivery[] memory deliveries) internal view returns (bytes memory) {
        SignedReceipt[] memory receipts = new SignedReceipt[](deliveries.length);
        for (uint256 i; i < deliveries.length; ++i) {
            receipts[i] = _receipt(deliveries[i], PAYEE);
        }
        return _sign(SIGNER_KEY, coprocessor.batchDigest(receipts));
    }

    function _submit(Delivery memory d, bytes memory proof) internal {
        coprocessor.fulfill(d.requestId, d.outcome, d.context, pool, d.fuelUsed, PAYEE, d.output, proof);
    }

    function _fulfill(RequestId requestId, bytes memory output) internal {
        Delivery memory delivery = _delivery(requestId, output);
        _submit(delivery, _prove(delivery));
    }
}
