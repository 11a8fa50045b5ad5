// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Asker, Fixture} from "../Fixture.sol";
import {PennilessConsumer} from "../consumers/HostileConsumers.sol";
import {RecordingConsumer} from "../consumers/RecordingConsumer.sol";
import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";

import {ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";
import {RequestId} from "contracts/types/Request.sol";

/// @notice Who gets which money, and that one who cannot take it stands in nobody's way.
contract MoneyTest is Fixture {
    RecordingConsumer private consumer;
    address payable private immutable SAFE = payable(makeAddr("safe"));

    function setUp() public override {
        super.setUp();
        consumer = new RecordingConsumer(coprocessor);
    }

    function _earn() private returns (uint256 fee) {
        _fulfill(_ask(Asker(address(consumer))), "");
        return pool.fee(CALLBACK_GAS, 123_456);
    }

    /// @dev C16: actual cost to the payee, the rest to the consumer.
    function testFuzz_fulfill_anyMaxFee_feeAndRefundAddUp(uint40 maxFeeGwei) public {
        uint256 floor = coprocessor.quote(pool, CALLBACK_GAS, 0, 0);
        uint256 maxFee = bound(maxFeeGwei, floor / 1 gwei, type(uint40).max) * 1 gwei;
        vm.deal(address(this), maxFee);
        RequestId requestId = consumer.ask{value: maxFee}(PROGRAM, pool, "", CALLBACK_GAS, 1 hours);
        _fulfill(requestId, "");
        uint256 cost = pool.fee(CALLBACK_GAS, 123_456);
        (uint128 earned, uint128 refunded) = coprocessor.tab(address(consumer), PAYEE);
        assertEq(earned, cost < maxFee ? cost : maxFee);
        assertEq(uint256(earned) + refunded, maxFee);
    }

    function test_withdrawEarnings_byPayee_paysOnce() public {
        uint256 fee = _earn();
        vm.expectEmit(address(coprocessor));
        emit ICoprocessor.EarningsWithdrawn(PAYEE, SAFE, fee);
        vm.prank(PAYEE);
        assertEq(coprocessor.withdrawEarnings(_list(address(consumer)), SAFE), fee);
        assertEq(SAFE.balance, fee);

        vm.prank(PAYEE);
        assertEq(coprocessor.withdrawEarnings(_list(address(consumer)), SAFE), 0);
        assertEq(SAFE.balance, fee);
    }

    /// @dev C16: withdrawing one half of a tab leaves the other.
    function test_withdraw_bothHalves_leaveNothing() public {
        uint256 fee = _earn();
        vm.prank(PAYEE);
        coprocessor.withdrawEarnings(_list(address(consumer)), SAFE);
        (uint128 earned, uint128 refunded) = coprocessor.tab(address(consumer), PAYEE);
        assertEq(earned, 0);
        assertEq(refunded, MAX_FEE - fee);
        assertEq(consumer.withdraw(_list(PAYEE), payable(address(consumer))), MAX_FEE - fee);
        assertEq(address(consumer).balance, MAX_FEE - fee);
        assertEq(address(coprocessor).balance, 0);
    }

    /// @dev C16: naming a tab twice pays it once.
    function test_withdrawEarnings_sameConsumerTwice_paysOnce() public {
        uint256 fee = _earn();
        address[] memory twice = new address[](2);
        (twice[0], twice[1]) = (address(consumer), address(consumer));
        vm.prank(PAYEE);
        assertEq(coprocessor.withdrawEarnings(twice, SAFE), fee);
    }

    /// @dev C9: nobody withdraws what another earned.
    function testFuzz_withdraw_byStranger_paysNothing(address thief) public {
        vm.assume(thief != PAYEE && thief != address(consumer));
        _earn();
        vm.startPrank(thief);
        assertEq(coprocessor.withdrawEarnings(_list(address(consumer)), SAFE), 0);
        assertEq(coprocessor.withdrawRefunds(_list(PAYEE), SAFE), 0);
        assertEq(SAFE.balance, 0);
    }

    function test_withdrawRefunds_manyPayees_sums() public {
        uint256 fee = _earn();
        RequestId requestId = _ask(Asker(address(consumer)));
        vm.warp(vm.getBlockTimestamp() + 2 hours);
        coprocessor.expire(requestId, pool);
        address[] memory payees = new address[](2);
        payees[0] = PAYEE; // payees[1] = 0: refunds of expired requests
        vm.expectEmit(address(coprocessor));
        emit ICoprocessor.RefundsWithdrawn(address(consumer), SAFE, 2 * MAX_FEE - fee);
        assertEq(consumer.withdraw(payees, SAFE), 2 * MAX_FEE - fee);
    }

    /// @dev C17: a consumer that cannot take money is settled all the same, and can have it sent elsewhere.
    function test_withdrawRefunds_receiverRefuses_revertsAndKeepsTab() public {
        PennilessConsumer penniless = new PennilessConsumer(coprocessor);
        RequestId requestId = penniless.ask{value: MAX_FEE}(PROGRAM, pool, "", CALLBACK_GAS, 1 hours);
        _fulfill(requestId, "");
        (, uint128 refunded) = coprocessor.tab(address(penniless), PAYEE);

        vm.expectRevert(SafeTransferLib.ETHTransferFailed.selector);
        penniless.withdraw(_list(PAYEE), payable(address(penniless)));
        assertEq(penniless.withdraw(_list(PAYEE), SAFE), refunded);
        assertEq(SAFE.balance, refunded);
    }

    function test_withdraw_toZeroAddress_reverts() public {
        _earn();
        vm.prank(PAYEE);
        vm.expectRevert(ICoprocessor.RecipientMissing.selector);
        coprocessor.withdrawEarnings(_list(address(consumer)), payable(address(0)));
        vm.expectRevert(ICoprocessor.RecipientMissing.selector);
        consumer.withdraw(_list(PAYEE), payable(address(0)));
    }

    /// @dev C5, C18: neither pause nor an owner gone for good stands between people and their money.
    function test_money_pausedAndRenounced_stillFlows() public {
        RequestId settled = _ask(Asker(address(consumer)));
        RequestId expired = _ask(Asker(address(consumer)));
        vm.startPrank(OWNER);
        coprocessor.pause();
        coprocessor.renounceOwnership();
        vm.stopPrank();

        _fulfill(settled, "");
        vm.warp(vm.getBlockTimestamp() + 2 hours);
        coprocessor.expire(expired, pool);
        vm.prank(PAYEE);
        coprocessor.withdrawEarnings(_list(address(consumer)), SAFE);
        consumer.withdraw(_list(PAYEE), SAFE);
        consumer.withdraw(_list(address(0)), SAFE);
        assertEq(SAFE.balance, 2 * MAX_FEE);
        assertEq(address(coprocessor).balance, 0);
    }

    /// @dev Plain transfers are refused, so that nobody loses money to a typing error.
    function test_receive_plainTransfer_reverts() public {
        (bool ok,) = address(coprocessor).call{value: 1 ether}("");
        assertFalse(ok);
    }
}
