// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Asker, Fixture} from "../Fixture.sol";
import {GasMeter} from "../consumers/GasMeter.sol";
import {BurningConsumer, ReenteringConsumer, RevertingConsumer} from "../consumers/HostileConsumers.sol";
import {RecordingConsumer} from "../consumers/RecordingConsumer.sol";

import {ConsumerCall} from "contracts/ConsumerCall.sol";
import {ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";
import {PoolId} from "contracts/types/Pool.sol";
import {RequestId} from "contracts/types/Request.sol";

/// @notice `Coprocessor.expire`: anyone, but not before time; the money back, and the consumer told.
contract ExpireTest is Fixture {
    RecordingConsumer private consumer;

    function setUp() public override {
        super.setUp();
        consumer = new RecordingConsumer(coprocessor);
    }

    function _expireLater(RequestId requestId) private {
        vm.warp(coprocessor.openRequest(requestId, pool).deadline() + 1);
        coprocessor.expire(requestId, pool);
    }

    /// @dev C15: whoever it is, and from the first second after the deadline.
    function testFuzz_expire_afterDeadline_refundsAll(address anyone, uint256 delay) public {
        RequestId requestId = _ask(Asker(address(consumer)));
        vm.warp(coprocessor.openRequest(requestId, pool).deadline() + bound(delay, 1, 3_650 days));
        vm.expectEmit(address(coprocessor));
        emit ICoprocessor.RequestExpired(requestId, true);
        vm.prank(anyone);
        coprocessor.expire(requestId, pool);

        assertFalse(_isOpen(requestId));
        assertEq(consumer.expiries(), 1);
        assertEq(RequestId.unwrap(consumer.lastRequestId()), RequestId.unwrap(requestId));
        (uint128 earned, uint128 refunded) = coprocessor.tab(address(consumer), address(0));
        assertEq(earned, 0);
        assertEq(refunded, MAX_FEE);
    }

    /// @dev C15: until the deadline has passed the request belongs to the pool.
    function testFuzz_expire_beforeDeadline_reverts(uint256 wait) public {
        RequestId requestId = _ask(Asker(address(consumer)));
        uint256 deadline = coprocessor.openRequest(requestId, pool).deadline();
        vm.warp(vm.getBlockTimestamp() + bound(wait, 0, 1 hours));
        vm.expectRevert(
            abi.encodeWithSelector(ICoprocessor.DeadlineNotPassed.selector, deadline, vm.getBlockTimestamp())
        );
        coprocessor.expire(requestId, pool);
    }

    /// @dev C15: the deadline's last second is the pool's.
    function test_expire_atDeadline_reverts() public {
        RequestId requestId = _ask(Asker(address(consumer)));
        uint256 deadline = coprocessor.openRequest(requestId, pool).deadline();
        vm.warp(deadline);
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.DeadlineNotPassed.selector, deadline, deadline));
        coprocessor.expire(requestId, pool);
    }

    /// @dev C6.
    function test_expire_again_reverts() public {
        RequestId requestId = _ask(Asker(address(consumer)));
        _expireLater(requestId);
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.RequestNotOpen.selector, requestId, pool));
        coprocessor.expire(requestId, pool);
    }

    /// @dev C6.
    function test_expire_settled_reverts() public {
        RequestId requestId = _ask(Asker(address(consumer)));
        _fulfill(requestId, "");
        vm.warp(vm.getBlockTimestamp() + 2 hours);
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.RequestNotOpen.selector, requestId, pool));
        coprocessor.expire(requestId, pool);
    }

    /// @dev C3.
    function testFuzz_expire_otherPool_reverts(PoolId other) public {
        vm.assume(PoolId.unwrap(other) != PoolId.unwrap(pool));
        RequestId requestId = _ask(Asker(address(consumer)));
        vm.warp(vm.getBlockTimestamp() + 2 hours);
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.RequestNotOpen.selector, requestId, other));
        coprocessor.expire(requestId, other);
    }

    /// @dev C12.
    function test_expire_consumerReverts_refunds() public {
        RevertingConsumer hostile = new RevertingConsumer(coprocessor);
        RequestId requestId = _ask(Asker(address(hostile)));
        vm.warp(vm.getBlockTimestamp() + 2 hours);
        vm.expectEmit(address(coprocessor));
        emit ICoprocessor.RequestExpired(requestId, false);
        coprocessor.expire(requestId, pool);
        (, uint128 refunded) = coprocessor.tab(address(hostile), address(0));
        assertEq(refunded, MAX_FEE);
    }

    /// @dev C13: expiry's callback has a limit of its own, whatever the request asked for.
    function testFuzz_expire_anyCallbackGas_callbackGetsExpiryGas(uint32 callbackGas) public {
        callbackGas = uint32(bound(callbackGas, 1, coprocessor.MAX_CALLBACK_GAS()));
        GasMeter meter = _deployGasMeter();
        _expireLater(meter.ask{value: 1 ether}(PROGRAM, pool, "", callbackGas, 1 hours));
        assertLe(meter.gasAtEntry(), coprocessor.EXPIRY_CALLBACK_GAS());
        assertGe(meter.gasAtEntry() + 600, coprocessor.EXPIRY_CALLBACK_GAS());
    }

    /// @dev C13.
    function test_expire_tooLittleGas_reverts() public {
        RequestId requestId = _ask(Asker(address(new BurningConsumer(coprocessor))));
        vm.warp(vm.getBlockTimestamp() + 2 hours);
        vm.expectPartialRevert(ConsumerCall.CallbackGasMissing.selector);
        coprocessor.expire{gas: 90_000}(requestId, pool);
        assertTrue(_isOpen(requestId));
        coprocessor.expire(requestId, pool);
    }

    function test_expire_noCallbackGas_refundsWithoutCalling() public {
        RequestId requestId = consumer.ask{value: MAX_FEE}(PROGRAM, pool, "", 0, 1 hours);
        _expireLater(requestId);
        assertEq(consumer.expiries(), 0);
        (, uint128 refunded) = coprocessor.tab(address(consumer), address(0));
        assertEq(refunded, MAX_FEE);
    }

    /// @dev C6.
    function test_expire_consumerReenters_refundedOnce() public {
        ReenteringConsumer hostile = new ReenteringConsumer(coprocessor);
        RequestId requestId = _ask(Asker(address(hostile)));
        hostile.prepare(abi.encodeCall(coprocessor.expire, (requestId, pool)));
        hostile.prepare(abi.encodeCall(coprocessor.withdrawRefunds, (_list(address(0)), payable(address(hostile)))));
        _expireLater(requestId);
        assertFalse(hostile.succeeded(0));
        assertTrue(hostile.succeeded(1));
        assertEq(address(hostile).balance, MAX_FEE);
        assertEq(address(coprocessor).balance, 0);
    }

    /// @dev C5.
    function test_expire_paused_refunds() public {
        RequestId requestId = _ask(Asker(address(consumer)));
        vm.prank(OWNER);
        coprocessor.pause();
        _expireLater(requestId);
        assertEq(consumer.expiries(), 1);
    }
}
