// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Asker, Fixture} from "../Fixture.sol";
import {RecordingConsumer} from "../consumers/RecordingConsumer.sol";

import {Delivery, ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";
import {IEnclaveRegistry} from "contracts/interfaces/IEnclaveRegistry.sol";
import {Outcome} from "contracts/types/Receipt.sol";
import {RequestId} from "contracts/types/Request.sol";

/// @notice `Coprocessor.fulfillBatch`: one proof, and items that do not disturb each other.
contract FulfillBatchTest is Fixture {
    RecordingConsumer private consumer;

    function setUp() public override {
        super.setUp();
        consumer = new RecordingConsumer(coprocessor);
    }

    function _deliveries(uint256 count) private returns (Delivery[] memory deliveries) {
        deliveries = new Delivery[](count);
        for (uint256 i; i < count; ++i) {
            deliveries[i] = _delivery(_ask(Asker(address(consumer))), abi.encode(i));
        }
    }

    function _submitBatch(Delivery[] memory deliveries) private {
        bytes memory proof = _prove(deliveries);
        vm.prank(STRANGER);
        coprocessor.fulfillBatch(pool, deliveries, PAYEE, proof);
    }

    function _expectSkipped(RequestId requestId, bytes4 reason) private {
        vm.expectEmit(address(coprocessor));
        emit ICoprocessor.DeliverySkipped(requestId, reason);
    }

    function testFuzz_fulfillBatch_allOpen_allSettle(uint256 count) public {
        count = bound(count, 1, 20);
        Delivery[] memory deliveries = _deliveries(count);
        _submitBatch(deliveries);
        for (uint256 i; i < count; ++i) {
            assertFalse(_isOpen(deliveries[i].requestId));
        }
        assertEq(consumer.receipts(), count);
        (uint128 earned, uint128 refunded) = coprocessor.tab(address(consumer), PAYEE);
        assertEq(uint256(earned) + refunded, count * MAX_FEE);
    }

    /// @dev C11: an item that was settled before is skipped, the others settle.
    function testFuzz_fulfillBatch_oneSettledBefore_othersSettle(uint256 which) public {
        Delivery[] memory deliveries = _deliveries(5);
        which = bound(which, 0, 4);
        _fulfill(deliveries[which].requestId, "before");
        _expectSkipped(deliveries[which].requestId, ICoprocessor.RequestNotOpen.selector);
        _submitBatch(deliveries);
        assertEq(consumer.receipts(), 5);
    }

    /// @dev C11: an item that is late is skipped and stays open for `expire`.
    function testFuzz_fulfillBatch_oneLate_othersSettle(uint256 which) public {
        Delivery[] memory deliveries = _deliveries(4);
        which = bound(which, 0, 3);
        RequestId late = consumer.ask{value: MAX_FEE}(PROGRAM, pool, "late", CALLBACK_GAS, 1);
        deliveries[which].requestId = late;
        vm.warp(vm.getBlockTimestamp() + 2);
        _expectSkipped(late, ICoprocessor.DeadlinePassed.selector);
        _submitBatch(deliveries);
        assertTrue(_isOpen(late));
        assertEq(consumer.receipts(), 3);
    }

    /// @dev C11.
    function testFuzz_fulfillBatch_oneUnknown_othersSettle(RequestId unknown) public {
        Delivery[] memory deliveries = _deliveries(3);
        deliveries[1].requestId = unknown;
        _expectSkipped(unknown, ICoprocessor.RequestNotOpen.selector);
        _submitBatch(deliveries);
        assertEq(consumer.receipts(), 2);
    }

    /// @dev C6: naming a request twice in a batch settles it once.
    function test_fulfillBatch_duplicateItem_settlesOnce() public {
        Delivery[] memory deliveries = _deliveries(2);
        deliveries[1] = _delivery(deliveries[0].requestId, "other");
        _expectSkipped(deliveries[0].requestId, ICoprocessor.RequestNotOpen.selector);
        _submitBatch(deliveries);
        assertEq(consumer.receipts(), 1);
        assertEq(consumer.lastOutput(), abi.encode(0));
        (uint128 earned, uint128 refunded) = coprocessor.tab(address(consumer), PAYEE);
        assertEq(uint256(earned) + refunded, MAX_FEE);
    }

    /// @dev C8: a wrong proof reverts everything.
    function testFuzz_fulfillBatch_anyItemChanged_reverts(uint256 which, bytes memory output) public {
        Delivery[] memory deliveries = _deliveries(3);
        bytes memory proof = _prove(deliveries);
        which = bound(which, 0, 2);
        vm.assume(keccak256(output) != keccak256(deliveries[which].output));
        deliveries[which].output = output;
        vm.expectPartialRevert(IEnclaveRegistry.SignerUnknown.selector);
        coprocessor.fulfillBatch(pool, deliveries, PAYEE, proof);
        assertEq(consumer.receipts(), 0);
    }

    /// @dev C8: leaving an item out, or changing the order, is another batch.
    function test_fulfillBatch_itemLeftOut_reverts() public {
        Delivery[] memory deliveries = _deliveries(2);
        bytes memory proof = _prove(deliveries);
        Delivery[] memory fewer = new Delivery[](1);
        fewer[0] = deliveries[0];
        vm.expectPartialRevert(IEnclaveRegistry.SignerUnknown.selector);
        coprocessor.fulfillBatch(pool, fewer, PAYEE, proof);

        (deliveries[0], deliveries[1]) = (deliveries[1], deliveries[0]);
        vm.expectPartialRevert(IEnclaveRegistry.SignerUnknown.selector);
        coprocessor.fulfillBatch(pool, deliveries, PAYEE, proof);
    }

    /// @dev C9.
    function test_fulfillBatch_payeeChanged_reverts() public {
        Delivery[] memory deliveries = _deliveries(2);
        bytes memory proof = _prove(deliveries);
        vm.expectPartialRevert(IEnclaveRegistry.SignerUnknown.selector);
        coprocessor.fulfillBatch(pool, deliveries, STRANGER, proof);
    }

    function test_fulfillBatch_empty_reverts() public {
        vm.expectRevert(ICoprocessor.BatchEmpty.selector);
        coprocessor.fulfillBatch(pool, new Delivery[](0), PAYEE, new bytes(64));
    }

    function test_fulfillBatch_payeeZero_reverts() public {
        Delivery[] memory deliveries = _deliveries(1);
        vm.expectRevert(ICoprocessor.PayeeMissing.selector);
        coprocessor.fulfillBatch(pool, deliveries, address(0), new bytes(64));
    }

    function test_fulfillBatch_outcomeNone_reverts() public {
        Delivery[] memory deliveries = _deliveries(2);
        deliveries[1].outcome = Outcome.None;
        bytes memory proof = _prove(deliveries);
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.OutcomeMissing.selector, deliveries[1].requestId));
        coprocessor.fulfillBatch(pool, deliveries, PAYEE, proof);
    }

    /// @dev C8: a single receipt's proof does not prove a batch of one.
    function test_fulfillBatch_singleProof_reverts() public {
        Delivery[] memory deliveries = _deliveries(1);
        bytes memory proof = _prove(deliveries[0]);
        vm.expectPartialRevert(IEnclaveRegistry.SignerUnknown.selector);
        coprocessor.fulfillBatch(pool, deliveries, PAYEE, proof);
    }
}
