// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Asker, Fixture, FullCoprocessor} from "../Fixture.sol";
import {RecordingConsumer} from "../consumers/RecordingConsumer.sol";

import {Delivery, ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";
import {IEnclaveRegistry} from "contracts/interfaces/IEnclaveRegistry.sol";
import {IReceiptVerifier} from "contracts/interfaces/IReceiptVerifier.sol";
import {PoolLibrary} from "contracts/types/Pool.sol";
import {Outcome, Receipt as SignedReceipt} from "contracts/types/Receipt.sol";
import {RequestId} from "contracts/types/Request.sol";
import {SettlementLibrary} from "contracts/types/Settlement.sol";

/// @notice `Coprocessor.fulfill`: what is proven, and what is refused.
contract FulfillTest is Fixture {
    RecordingConsumer private consumer;

    function setUp() public override {
        super.setUp();
        consumer = new RecordingConsumer(coprocessor);
    }

    function _expectRejected(Delivery memory delivery, bytes memory proof) private {
        vm.expectPartialRevert(IEnclaveRegistry.SignerUnknown.selector);
        _submit(delivery, proof);
        assertTrue(_isOpen(delivery.requestId));
    }

    function testFuzz_fulfill_validReceipt_settlesAndCallsBack(bytes memory output, uint64 fuel, uint8 number) public {
        Outcome outcome = Outcome(bound(number, 1, uint8(type(Outcome).max)));
        RequestId requestId = _ask(Asker(address(consumer)));
        Delivery memory delivery = Delivery(requestId, fuel, outcome, output, 0);
        uint256 fee = pool.fee(CALLBACK_GAS + 40 * output.length, fuel);
        if (fee > MAX_FEE) fee = MAX_FEE;
        bool fits = output.length < 1_000; // storing more than that takes more than the callback's gas

        bytes memory proof = _prove(delivery);
        if (fits) {
            vm.expectEmit(address(coprocessor));
            emit ICoprocessor.RequestSettled(requestId, PAYEE, SettlementLibrary.pack(fee, fuel, outcome, true));
        }
        vm.prank(STRANGER);
        _submit(delivery, proof);

        assertFalse(_isOpen(requestId));
        (uint128 earned, uint128 refunded) = coprocessor.tab(address(consumer), PAYEE);
        assertEq(earned, fee);
        assertEq(uint256(earned) + refunded, MAX_FEE);
        if (fits) {
            assertEq(consumer.receipts(), 1);
            assertEq(RequestId.unwrap(consumer.lastRequestId()), RequestId.unwrap(requestId));
            assertEq(uint8(consumer.lastOutcome()), uint8(outcome));
            assertEq(consumer.lastOutput(), output);
        }
    }

    /// @dev C6: a request settles at most once.
    function test_fulfill_again_reverts() public {
        RequestId requestId = _ask(Asker(address(consumer)));
        _fulfill(requestId, "first");
        Delivery memory second = _delivery(requestId, "second");
        bytes memory proof = _prove(second);
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.RequestNotOpen.selector, requestId, pool));
        _submit(second, proof);
        assertEq(consumer.receipts(), 1);
    }

    function testFuzz_fulfill_unknownRequest_reverts(RequestId requestId) public {
        Delivery memory delivery = _delivery(requestId, "");
        bytes memory proof = _prove(delivery);
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.RequestNotOpen.selector, requestId, pool));
        _submit(delivery, proof);
    }

    /// @dev C3: no other pool's verifier, however generous, settles a request.
    function test_fulfill_poolOfGenerousVerifier_reverts() public {
        RequestId requestId = _ask(Asker(address(consumer)));
        Delivery memory delivery = _delivery(requestId, "");
        pool = PoolLibrary.pack(address(new GenerousVerifier()), BASE_FEE_GWEI, GAS_PRICE_MWEI, FUEL_PRICE_WEI);
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.RequestNotOpen.selector, requestId, pool));
        _submit(delivery, "");
    }

    /// @dev C7: the deadline is the last second in which a receipt is accepted.
    function test_fulfill_atDeadline_settles() public {
        RequestId requestId = _ask(Asker(address(consumer)));
        vm.warp(coprocessor.openRequest(requestId, pool).deadline());
        _fulfill(requestId, "in time");
        assertFalse(_isOpen(requestId));
    }

    /// @dev C7.
    function testFuzz_fulfill_late_reverts(uint256 delay) public {
        RequestId requestId = _ask(Asker(address(consumer)));
        uint256 deadline = coprocessor.openRequest(requestId, pool).deadline();
        vm.warp(deadline + bound(delay, 1, 3_650 days));
        Delivery memory delivery = _delivery(requestId, "");
        bytes memory proof = _prove(delivery);
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.DeadlinePassed.selector, deadline, vm.getBlockTimestamp()));
        _submit(delivery, proof);
    }

    /// @dev C8: results are authenticated. Every field of the receipt is under the signature.
    function testFuzz_fulfill_outputChanged_reverts(bytes memory output) public {
        Delivery memory delivery = _delivery(_ask(Asker(address(consumer))), "signed");
        bytes memory proof = _prove(delivery);
        vm.assume(keccak256(output) != keccak256("signed"));
        delivery.output = output;
        _expectRejected(delivery, proof);
    }

    /// @dev C8.
    function testFuzz_fulfill_fuelChanged_reverts(uint64 fuel) public {
        Delivery memory delivery = _delivery(_ask(Asker(address(consumer))), "");
        bytes memory proof = _prove(delivery);
        vm.assume(fuel != delivery.fuelUsed);
        delivery.fuelUsed = fuel;
        _expectRejected(delivery, proof);
    }

    /// @dev C8.
    function testFuzz_fulfill_outcomeChanged_reverts(uint8 number) public {
        Delivery memory delivery = _delivery(_ask(Asker(address(consumer))), "");
        bytes memory proof = _prove(delivery);
        delivery.outcome = Outcome(bound(number, 2, uint8(type(Outcome).max)));
        _expectRejected(delivery, proof);
    }

    /// @dev C8: what a run depended on is proven like the rest, and delivered as it was signed.
    function testFuzz_fulfill_contextChanged_reverts(bytes32 signed, bytes32 delivered) public {
        Delivery memory delivery = _delivery(_ask(Asker(address(consumer))), "");
        delivery.context = signed;
        bytes memory proof = _prove(delivery);
        if (signed != delivered) {
            delivery.context = delivered;
            _expectRejected(delivery, proof);
            delivery.context = signed;
        }
        _submit(delivery, proof);
        assertFalse(_isOpen(delivery.requestId));
    }

    /// @dev C8.
    function test_fulfill_receiptOfOtherRequest_reverts() public {
        Delivery memory delivery = _delivery(_ask(Asker(address(consumer))), "");
        bytes memory proof = _prove(delivery);
        delivery.requestId = _ask(Asker(address(consumer)));
        _expectRejected(delivery, proof);
    }

    /// @dev C9: whoever submits, the payee is the one whom the enclave signed for.
    function testFuzz_fulfill_payeeChanged_reverts(address thief) public {
        vm.assume(thief != PAYEE && thief != address(0));
        Delivery memory delivery = _delivery(_ask(Asker(address(consumer))), "");
        bytes memory proof = _prove(delivery);
        vm.expectPartialRevert(IEnclaveRegistry.SignerUnknown.selector);
        vm.prank(thief);
        coprocessor.fulfill(
            delivery.requestId, delivery.outcome, 0, pool, delivery.fuelUsed, thief, delivery.output, proof
        );
    }

    function test_fulfill_payeeZero_reverts() public {
        Delivery memory delivery = _delivery(_ask(Asker(address(consumer))), "");
        bytes memory proof = _sign(SIGNER_KEY, coprocessor.receiptDigest(_receipt(delivery, address(0))));
        vm.expectRevert(ICoprocessor.PayeeMissing.selector);
        coprocessor.fulfill(
            delivery.requestId, delivery.outcome, 0, pool, delivery.fuelUsed, address(0), delivery.output, proof
        );
    }

    /// @dev C8: a receipt of another chain is no receipt here.
    function test_fulfill_digestOfOtherChain_reverts() public {
        Delivery memory delivery = _delivery(_ask(Asker(address(consumer))), "");
        vm.chainId(2);
        bytes memory proof = _prove(delivery);
        vm.chainId(31_337);
        _expectRejected(delivery, proof);
    }

    /// @dev C8: nor is one of another coprocessor.
    function test_fulfill_digestOfOtherContract_reverts() public {
        Delivery memory delivery = _delivery(_ask(Asker(address(consumer))), "");
        FullCoprocessor other = _deployCoprocessor();
        _expectRejected(delivery, _sign(SIGNER_KEY, other.receiptDigest(_receipt(delivery, PAYEE))));
    }

    /// @dev C8: the struct hash alone, without domain, proves nothing.
    function test_fulfill_bareStructHashSigned_reverts() public {
        Delivery memory delivery = _delivery(_ask(Asker(address(consumer))), "");
        SignedReceipt memory receipt = _receipt(delivery, PAYEE);
        _expectRejected(delivery, _sign(SIGNER_KEY, keccak256(abi.encode(receipt))));
    }

    /// @dev C8: a proof of a batch of one does not prove the one.
    function test_fulfill_batchProof_reverts() public {
        Delivery[] memory deliveries = new Delivery[](1);
        deliveries[0] = _delivery(_ask(Asker(address(consumer))), "");
        _expectRejected(deliveries[0], _prove(deliveries));
    }

    /// @dev C8.
    function testFuzz_fulfill_unregisteredKey_reverts(uint256 key) public {
        key = bound(key, 1, 1e30);
        Delivery memory delivery = _delivery(_ask(Asker(address(consumer))), "");
        bytes memory proof = _sign(key, coprocessor.receiptDigest(_receipt(delivery, PAYEE)));
        vm.expectRevert(abi.encodeWithSelector(IEnclaveRegistry.SignerUnknown.selector, vm.addr(key)));
        _submit(delivery, proof);
    }

    function test_fulfill_outcomeNone_reverts() public {
        Delivery memory delivery = _delivery(_ask(Asker(address(consumer))), "");
        delivery.outcome = Outcome.None;
        bytes memory proof = _prove(delivery);
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.OutcomeMissing.selector, delivery.requestId));
        _submit(delivery, proof);
    }

    /// @dev The decoder refuses numbers that no outcome has.
    function testFuzz_fulfill_outcomeOutOfRange_reverts(uint8 number) public {
        number = uint8(bound(number, uint8(type(Outcome).max) + 1, 255));
        RequestId requestId = _ask(Asker(address(consumer)));
        (bool ok, bytes memory returned) = address(coprocessor)
            .call(
                abi.encodeWithSelector(
                    ICoprocessor.fulfill.selector, requestId, uint64(1), number, pool, "", new bytes(64), PAYEE
                )
            );
        assertFalse(ok);
        assertEq(returned.length, 0);
        assertTrue(_isOpen(requestId));
    }

    /// @dev C10: no verifier but the pool's own decides; one that says no is believed.
    function test_fulfill_externalVerifierSaysNo_reverts() public {
        pool = PoolLibrary.pack(address(new StubbornVerifier()), BASE_FEE_GWEI, GAS_PRICE_MWEI, FUEL_PRICE_WEI);
        Delivery memory delivery = _delivery(_ask(Asker(address(consumer))), "");
        bytes memory proof = _prove(delivery);
        vm.expectPartialRevert(ICoprocessor.ProofRejected.selector);
        _submit(delivery, proof);
    }

    /// @dev C10: a registry of its own serves a pool as well as the coprocessor's does.
    function test_fulfill_standaloneRegistry_settles() public {
        registry = _deployRegistry();
        pool = PoolLibrary.pack(address(registry), BASE_FEE_GWEI, GAS_PRICE_MWEI, FUEL_PRICE_WEI);
        RequestId requestId = _ask(Asker(address(consumer)));
        Delivery memory delivery = _delivery(requestId, "external");
        _expectRejected(delivery, _prove(delivery)); // live in the coprocessor's registry only

        vm.prank(OWNER);
        registry.approveMeasurement(BUILD, _policy());
        _register(SIGNER);
        _fulfill(requestId, "external");
        assertEq(consumer.lastOutput(), "external");
    }

    function test_fulfill_verifierWithoutCode_reverts() public {
        pool = PoolLibrary.pack(makeAddr("nobody"), BASE_FEE_GWEI, GAS_PRICE_MWEI, FUEL_PRICE_WEI);
        Delivery memory delivery = _delivery(_ask(Asker(address(consumer))), "");
        bytes memory proof = _prove(delivery);
        vm.expectRevert();
        _submit(delivery, proof);
    }

    /// @dev C5: a pause does not touch requests that are open.
    function test_fulfill_paused_settles() public {
        RequestId requestId = _ask(Asker(address(consumer)));
        vm.prank(OWNER);
        coprocessor.pause();
        _fulfill(requestId, "");
        assertFalse(_isOpen(requestId));
    }
}

contract GenerousVerifier is IReceiptVerifier {
    function verify(bytes32, bytes calldata) external pure returns (bool) {
        return true;
    }
}

contract StubbornVerifier is IReceiptVerifier {
    function verify(bytes32, bytes calldata) external pure returns (bool) {
        return false;
    }
}
