// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Asker, Fixture} from "../Fixture.sol";
import {GasMeter} from "../consumers/GasMeter.sol";
import {BombConsumer, BurningConsumer, ReenteringConsumer, RevertingConsumer} from "../consumers/HostileConsumers.sol";
import {RecordingConsumer} from "../consumers/RecordingConsumer.sol";
import {Vm} from "forge-std/Vm.sol";

import {ConsumerCall} from "contracts/ConsumerCall.sol";
import {CoprocessorConsumer} from "contracts/consumer/CoprocessorConsumer.sol";
import {Delivery, ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";
import {Outcome} from "contracts/types/Receipt.sol";
import {RequestId} from "contracts/types/Request.sol";
import {Settlement} from "contracts/types/Settlement.sol";

/// @notice What a consumer, or a submitter, can and cannot do by means of the callback.
contract CallbackTest is Fixture {
    uint256 private constant TRANSACTION_GAS_LIMIT = 16_777_216; // EIP-7825

    function _settled(Vm.Log[] memory logs) private pure returns (Settlement) {
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] == ICoprocessor.RequestSettled.selector) {
                return abi.decode(logs[i].data, (Settlement));
            }
        }
        revert("not settled");
    }

    function _fulfillAndRead(RequestId requestId) private returns (Settlement) {
        vm.recordLogs();
        _fulfill(requestId, "output");
        return _settled(vm.getRecordedLogs());
    }

    function _askWith(address consumer, uint32 callbackGas) private returns (RequestId) {
        return Asker(consumer).ask{value: 1 ether}(PROGRAM, pool, "", callbackGas, 1 hours);
    }

    /// @dev C12: a consumer that reverts does not revert the delivery.
    function test_fulfill_consumerReverts_settles() public {
        RequestId requestId = _askWith(address(new RevertingConsumer(coprocessor)), CALLBACK_GAS);
        assertFalse(_fulfillAndRead(requestId).callbackSucceeded());
        assertFalse(_isOpen(requestId));
    }

    /// @dev C12: nor one that burns its gas; it burns no more than it asked for.
    function testFuzz_fulfill_consumerBurnsGas_settlesWithinItsLimit(uint32 callbackGas) public {
        callbackGas = uint32(bound(callbackGas, 1, 2_000_000));
        RequestId requestId = _askWith(address(new BurningConsumer(coprocessor)), callbackGas);
        uint256 before = gasleft();
        Settlement settlement = _fulfillAndRead(requestId);
        assertLt(before - gasleft(), uint256(callbackGas) + 300_000);
        assertFalse(settlement.callbackSucceeded());
    }

    /// @dev C12: returned data is not copied, so a bomb costs its maker only.
    function test_fulfill_consumerReturnsMegabyte_notCopied() public {
        for (uint256 i; i < 2; ++i) {
            RequestId requestId = _askWith(address(new BombConsumer(coprocessor, i == 1)), 3_000_000);
            Delivery memory delivery = _delivery(requestId, "");
            bytes memory proof = _prove(delivery);
            uint256 before = gasleft();
            _submit(delivery, proof);
            // The callee's own expansion to a megabyte costs 2.2 million; copying it would cost as much again.
            assertLt(before - gasleft(), 2_400_000);
            assertFalse(_isOpen(requestId));
        }
    }

    /// @dev C13: the consumer gets exactly what it asked for, however much the transaction brings.
    function testFuzz_fulfill_anyTransactionGas_callbackGetsExactGasOrNothingHappens(uint32 callbackGas, uint256 given)
        public
    {
        callbackGas = uint32(bound(callbackGas, 30_000, 3_000_000));
        given = bound(given, 60_000, 4_000_000);
        GasMeter consumer = _deployGasMeter();
        Delivery memory delivery = _delivery(_askWith(address(consumer), callbackGas), "");
        bytes memory proof = _prove(delivery);
        try this.submitWith(given, delivery, proof) {
            assertFalse(_isOpen(delivery.requestId));
            assertLe(consumer.gasAtEntry(), callbackGas);
            assertGe(consumer.gasAtEntry() + 600, callbackGas); // less dispatch and decoding
        } catch {
            assertTrue(_isOpen(delivery.requestId));
            assertEq(consumer.gasAtEntry(), 0);
        }
    }

    function submitWith(uint256 gas, Delivery calldata d, bytes calldata proof) external {
        coprocessor.fulfill{gas: gas}(d.requestId, d.outcome, d.context, pool, d.fuelUsed, PAYEE, d.output, proof);
    }

    /// @dev C13: a stranger who brings too little gas cannot destroy the callback.
    function test_fulfill_strangerWithTooLittleGas_revertsAndHonestRetrySettles() public {
        RecordingConsumer consumer = new RecordingConsumer(coprocessor);
        RequestId requestId = _askWith(address(consumer), 3_000_000);
        Delivery memory delivery = _delivery(requestId, "output");
        bytes memory proof = _prove(delivery);

        vm.prank(STRANGER);
        vm.expectPartialRevert(ConsumerCall.CallbackGasMissing.selector);
        this.submitWith(300_000, delivery, proof);

        _submit(delivery, proof);
        assertEq(consumer.receipts(), 1);
    }

    /// @dev C13: also for the items of a batch.
    function test_fulfillBatch_tooLittleGas_reverts() public {
        Delivery[] memory deliveries = new Delivery[](2);
        RecordingConsumer consumer = new RecordingConsumer(coprocessor);
        deliveries[0] = _delivery(_askWith(address(consumer), 100_000), "");
        deliveries[1] = _delivery(_askWith(address(consumer), 3_000_000), "");
        bytes memory proof = _prove(deliveries);
        vm.expectPartialRevert(ConsumerCall.CallbackGasMissing.selector);
        coprocessor.fulfillBatch{gas: 1_000_000}(pool, deliveries, PAYEE, proof);
        assertTrue(_isOpen(deliveries[0].requestId));
    }

    /// @dev C14: the largest callback with a large output fits one transaction.
    function test_fulfill_largestCallbackAndOutput_fitsOneTransaction() public {
        uint32 largest = uint32(coprocessor.MAX_CALLBACK_GAS());
        RequestId requestId = _askWith(address(new BurningConsumer(coprocessor)), largest);
        Delivery memory delivery = _delivery(requestId, _noise(256 * 1024));
        bytes memory proof = _prove(delivery);
        uint256 intrinsic = 21_000 + 16 * (256 * 1024 + 1_000);
        coprocessor.fulfill{gas: TRANSACTION_GAS_LIMIT - intrinsic}(
            delivery.requestId, delivery.outcome, 0, pool, delivery.fuelUsed, PAYEE, delivery.output, proof
        );
        assertFalse(_isOpen(requestId));
    }

    function _noise(uint256 size) private pure returns (bytes memory noise) {
        noise = new bytes(size);
        for (uint256 i = 32; i <= size; i += 32) {
            assembly {
                mstore(add(noise, i), not(0))
            }
        }
    }

    /// @dev No callback gas, no callback; the receipt settles all the same.
    function test_fulfill_noCallbackGas_settlesWithoutCalling() public {
        RecordingConsumer consumer = new RecordingConsumer(coprocessor);
        RequestId requestId = _askWith(address(consumer), 0);
        assertFalse(_fulfillAndRead(requestId).callbackSucceeded());
        assertEq(consumer.receipts(), 0);
    }

    function test_fulfill_consumerIsPlainAccount_settles() public {
        vm.deal(STRANGER, 1 ether);
        vm.prank(STRANGER);
        RequestId requestId =
            coprocessor.request{value: MAX_FEE}(PROGRAM, pool, uint64(block.timestamp + 1 hours), CALLBACK_GAS, "");
        assertTrue(_fulfillAndRead(requestId).callbackSucceeded());
    }

    /// @dev C6: nothing that a consumer calls back gets it settled, or paid, twice.
    function test_fulfill_consumerReenters_nothingTwice() public {
        ReenteringConsumer consumer = new ReenteringConsumer(coprocessor);
        RequestId first = _askWith(address(consumer), 5_000_000);
        RequestId second = _askWith(address(consumer), 5_000_000);
        Delivery memory delivery = _delivery(first, "");
        Delivery memory other = _delivery(second, "");
        bytes memory proof = _prove(delivery);

        consumer.prepare(_fulfillCall(delivery, proof)); // the same again: not open
        consumer.prepare(abi.encodeCall(coprocessor.expire, (first, pool))); // not open
        consumer.prepare(abi.encodeCall(coprocessor.withdrawRefunds, (_list(PAYEE), payable(address(consumer)))));
        consumer.prepare(abi.encodeCall(coprocessor.withdrawRefunds, (_list(PAYEE), payable(address(consumer)))));
        consumer.prepare(abi.encodeCall(coprocessor.request, (PROGRAM, pool, uint64(block.timestamp + 1), 0, ""))); // without money: refused
        consumer.prepare(_fulfillCall(other, "")); // unproven
        _submit(delivery, proof);

        bool[6] memory expected = [false, false, true, true, false, false];
        for (uint256 i; i < 6; ++i) {
            assertEq(consumer.succeeded(i), expected[i]);
        }
        (uint128 earned, uint128 refunded) = coprocessor.tab(address(consumer), PAYEE);
        assertEq(refunded, 0);
        assertEq(address(consumer).balance, 1 ether - earned);
        assertEq(address(coprocessor).balance, 1 ether + earned); // the second request's escrow, and the fee
    }

    /// @dev C6: a batch's later item may be settled from within an earlier one's callback, then it is skipped.
    function test_fulfillBatch_consumerSettlesLaterItem_skipped() public {
        ReenteringConsumer consumer = new ReenteringConsumer(coprocessor);
        Delivery[] memory deliveries = new Delivery[](2);
        deliveries[0] = _delivery(_askWith(address(consumer), 5_000_000), "");
        deliveries[1] = _delivery(_askWith(address(consumer), 500_000), "");
        consumer.prepare(_fulfillCall(deliveries[1], _prove(deliveries[1])));
        bytes memory proof = _prove(deliveries);

        vm.expectEmit(address(coprocessor));
        emit ICoprocessor.DeliverySkipped(deliveries[1].requestId, ICoprocessor.RequestNotOpen.selector);
        coprocessor.fulfillBatch(pool, deliveries, PAYEE, proof);
        (uint128 earned, uint128 refunded) = coprocessor.tab(address(consumer), PAYEE);
        assertEq(uint256(earned) + refunded, 2 ether);
    }

    function _fulfillCall(Delivery memory d, bytes memory proof) private view returns (bytes memory) {
        return abi.encodeCall(
            coprocessor.fulfill, (d.requestId, d.outcome, d.context, pool, d.fuelUsed, PAYEE, d.output, proof)
        );
    }

    /// @dev K1: nobody but the coprocessor calls a consumer back.
    function testFuzz_onReceipt_notCoprocessor_reverts(address caller) public {
        RecordingConsumer consumer = new RecordingConsumer(coprocessor);
        vm.assume(caller != address(coprocessor));
        vm.startPrank(caller);
        vm.expectRevert(abi.encodeWithSelector(CoprocessorConsumer.NotCoprocessor.selector, caller));
        consumer.onReceipt(RequestId.wrap(0), Outcome.Completed, "");
        vm.expectRevert(abi.encodeWithSelector(CoprocessorConsumer.NotCoprocessor.selector, caller));
        consumer.onExpired(RequestId.wrap(0));
    }
}
