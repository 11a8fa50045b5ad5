// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Asker, Fixture} from "../Fixture.sol";
import {BurningConsumer, RevertingConsumer} from "../consumers/HostileConsumers.sol";
import {RecordingConsumer} from "../consumers/RecordingConsumer.sol";

import {Delivery} from "contracts/interfaces/ICoprocessor.sol";
import {Outcome, Receipt as SignedReceipt} from "contracts/types/Receipt.sol";
import {RequestId} from "contracts/types/Request.sol";

/// @notice Does to the coprocessor what the world may do, in any order, and keeps books of its own beside.
contract Handler is Fixture {
    struct Asked {
        RequestId requestId;
        address consumer;
        uint256 escrow;
        uint256 deadline;
        bool closed;
    }

    Asked[] public asked;
    address[] public consumers;
    address[] public payees;

    uint256 public escrowed; // ever
    uint256 public closedEscrow; // of requests settled or expired
    uint256 public withdrawn; // ever
    uint256 public closings;
    uint256 public wrongs; // things that went through and should not have
    uint64 public highestNonce;

    constructor() {
        setUp();
        consumers.push(address(new RecordingConsumer(coprocessor)));
        consumers.push(address(new RevertingConsumer(coprocessor)));
        consumers.push(address(new BurningConsumer(coprocessor)));
        payees.push(address(0));
        payees.push(PAYEE);
        payees.push(makeAddr("other payee"));
    }

    function coprocessorAddress() external view returns (address) {
        return address(coprocessor);
    }

    function request(uint256 who, uint256 feeGwei, uint32 callbackGas, uint256 wait) external {
        address consumer = consumers[who % consumers.length];
        callbackGas = uint32(bound(callbackGas, 0, 200_000));
        uint256 fee = bound(feeGwei, coprocessor.quote(pool, callbackGas, 0, 0) / 1 gwei, 1e7) * 1 gwei;
        wait = bound(wait, 1, 1 days);
        vm.deal(address(this), fee);
        try Asker(consumer).ask{value: fee}(PROGRAM, pool, "", callbackGas, uint64(wait)) returns (
            RequestId requestId
        ) {
            asked.push(Asked(requestId, consumer, fee, vm.getBlockTimestamp() + wait, false));
            escrowed += fee;
        } catch {
            if (!coprocessor.paused()) ++wrongs;
        }
        if (coprocessor.nonce() < highestNonce) ++wrongs;
        highestNonce = coprocessor.nonce();
    }

    function fulfill(uint256 which, uint64 fuel, uint8 outcome, bool otherPayee) external {
        if (asked.length == 0) return;
        Asked storage item = asked[which % asked.length];
        address payee = payees[otherPayee ? 2 : 1];
        Delivery memory d = Delivery(item.requestId, fuel, Outcome(bound(outcome, 1, 10)), "output", 0);
        bytes memory proof = _sign(SIGNER_KEY, coprocessor.receiptDigest(_receipt(d, payee)));
        try coprocessor.fulfill(d.requestId, d.outcome, d.context, pool, d.fuelUsed, payee, d.output, proof) {
            _close(item, vm.getBlockTimestamp() <= item.deadline);
        } catch {}
    }

    function fulfillBatch(uint256 first, uint256 count, uint64 fuel) external {
        if (asked.length == 0) return;
        count = bound(count, 1, 5);
        Delivery[] memory deliveries = new Delivery[](count);
        SignedReceipt[] memory receipts = new SignedReceipt[](count);
        for (uint256 i; i < count; ++i) {
            // Wraps around, so that duplicates, closed and late items are among them.
            deliveries[i] = _delivery(asked[addmod(first, i, asked.length)].requestId, "batch");
            deliveries[i].fuelUsed = fuel;
            receipts[i] = _receipt(deliveries[i], PAYEE);
        }
        coprocessor.fulfillBatch(pool, deliveries, PAYEE, _sign(SIGNER_KEY, coprocessor.batchDigest(receipts)));
        for (uint256 i; i < count; ++i) {
            Asked storage item = asked[addmod(first, i, asked.length)];
            if (!item.closed && !_isOpen(item.requestId)) _close(item, vm.getBlockTimestamp() <= item.deadline);
        }
    }

    function forge(uint256 which, uint256 key) external {
        if (asked.length == 0) return;
        Asked storage item = asked[which % asked.length];
        Delivery memory d = _delivery(item.requestId, "forged");
        bytes memory proof = _sign(bound(key, 1, 1e30), coprocessor.receiptDigest(_receipt(d, PAYEE)));
        try coprocessor.fulfill(d.requestId, d.outcome, d.context, pool, d.fuelUsed, PAYEE, d.output, proof) {
            ++wrongs;
        } catch {}
    }

    function expire(uint256 which) external {
        if (asked.length == 0) return;
        Asked storage item = asked[which % asked.length];
        try coprocessor.expire(item.requestId, pool) {
            _close(item, vm.getBlockTimestamp() > item.deadline);
        } catch {}
    }

    function withdrawEarnings(uint256 who) external {
        vm.prank(payees[1 + who % 2]);
        withdrawn += coprocessor.withdrawEarnings(consumers, payable(makeAddr("safe")));
    }

    function withdrawRefunds(uint256 who) external {
        vm.prank(consumers[who % consumers.length]);
        withdrawn += coprocessor.withdrawRefunds(payees, payable(makeAddr("safe")));
    }

    function pass(uint256 time) external {
        vm.warp(vm.getBlockTimestamp() + bound(time, 1, 6 hours));
    }

    function pause(bool on) external {
        vm.prank(OWNER);
        if (on) coprocessor.pause();
        else coprocessor.unpause();
    }

    function _close(Asked storage item, bool rightly) private {
        if (item.closed || !rightly) ++wrongs;
        item.closed = true;
        closedEscrow += item.escrow;
        ++closings;
    }

    function count() external view returns (uint256) {
        return asked.length;
    }

    function isOpen(uint256 which) external view returns (bool) {
        return _isOpen(asked[which].requestId);
    }

    /// @return earned All that payees may still withdraw.
    /// @return refunded All that consumers may still withdraw.
    function tabs() external view returns (uint256 earned, uint256 refunded) {
        for (uint256 i; i < consumers.length; ++i) {
            for (uint256 j; j < payees.length; ++j) {
                (uint128 e, uint128 r) = coprocessor.tab(consumers[i], payees[j]);
                earned += e;
                refunded += r;
            }
        }
    }
}
