// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Asker, Fixture} from "../Fixture.sol";
import {RecordingConsumer} from "../consumers/RecordingConsumer.sol";

import {ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";
import {PoolId, PoolLibrary} from "contracts/types/Pool.sol";
import {ProgramId} from "contracts/types/Program.sol";
import {OpenRequest, RequestId, Terms, TermsLibrary} from "contracts/types/Request.sol";

/// @notice `Coprocessor.request`: what it refuses, what it stores, what it logs.
contract RequestTest is Fixture {
    address private immutable CONSUMER = makeAddr("consumer");

    function setUp() public override {
        super.setUp();
        vm.deal(CONSUMER, type(uint128).max);
    }

    function _request(uint256 fee, uint256 deadline, uint256 callbackGas, bytes memory input)
        private
        returns (RequestId)
    {
        vm.prank(CONSUMER);
        return coprocessor.request{value: fee}(PROGRAM, pool, uint64(deadline), uint32(callbackGas), input);
    }

    /// @dev C1: the id commits to every field, the chain and the contract.
    function testFuzz_request_anyFields_idIsHashOfAllFields(
        ProgramId program,
        uint64 wait,
        uint24 callbackGas,
        uint40 feeGwei,
        bytes calldata input
    ) public {
        wait = uint64(bound(wait, 1, coprocessor.MAX_WAIT()));
        callbackGas = uint24(bound(callbackGas, 0, coprocessor.MAX_CALLBACK_GAS()));
        feeGwei = uint40(bound(feeGwei, coprocessor.quote(pool, callbackGas, 0, 0) / 1 gwei, type(uint40).max));
        uint64 deadline = uint64(vm.getBlockTimestamp()) + wait;

        Terms terms = TermsLibrary.pack(coprocessor.nonce(), vm.getBlockTimestamp(), deadline, callbackGas, feeGwei);
        RequestId expected = RequestId.wrap(
            keccak256(abi.encode(block.chainid, address(coprocessor), CONSUMER, program, pool, keccak256(input), terms))
        );
        vm.expectEmit(address(coprocessor));
        emit ICoprocessor.RequestCreated(expected, pool, CONSUMER, program, terms, input);
        vm.prank(CONSUMER);
        RequestId actual =
            coprocessor.request{value: uint256(feeGwei) * 1 gwei}(program, pool, deadline, callbackGas, input);

        assertEq(RequestId.unwrap(actual), RequestId.unwrap(expected));
        OpenRequest open = coprocessor.openRequest(actual, pool);
        assertEq(open.consumer(), CONSUMER);
        assertEq(open.deadline(), deadline);
        assertEq(open.callbackGas(), callbackGas);
        assertEq(open.maxFee(), uint256(feeGwei) * 1 gwei);
        assertEq(terms.nonce(), 0);
        assertEq(terms.createdAt(), vm.getBlockTimestamp());
        assertEq(terms.deadline(), deadline);
        assertEq(terms.callbackGas(), callbackGas);
        assertEq(terms.maxFeeGwei(), feeGwei);
    }

    /// @dev C1.
    function test_request_otherChain_otherId() public {
        uint256 snapshot = vm.snapshotState();
        RequestId here = _request(MAX_FEE, block.timestamp + 1, 0, "");
        vm.revertToState(snapshot);
        vm.chainId(2);
        RequestId there = _request(MAX_FEE, block.timestamp + 1, 0, "");
        assertNotEq(RequestId.unwrap(here), RequestId.unwrap(there));
    }

    /// @dev C2: nonces make equal requests distinct.
    function test_request_sameTwice_distinctIds() public {
        RequestId first = _request(MAX_FEE, block.timestamp + 1, 0, "same");
        RequestId second = _request(MAX_FEE, block.timestamp + 1, 0, "same");
        assertNotEq(RequestId.unwrap(first), RequestId.unwrap(second));
        assertEq(coprocessor.nonce(), 2);
    }

    /// @dev C3: a request is open in the pool it named and in no other.
    function testFuzz_openRequest_otherPool_notOpen(PoolId other) public {
        vm.assume(PoolId.unwrap(other) != PoolId.unwrap(pool));
        RequestId requestId = _request(MAX_FEE, block.timestamp + 1, 0, "");
        assertTrue(_isOpen(requestId));
        assertFalse(coprocessor.openRequest(requestId, other).isOpen());
    }

    function testFuzz_request_feeNotWholeGwei_reverts(uint256 dust) public {
        dust = bound(dust, 1, 1 gwei - 1);
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.FeeNotWholeGwei.selector, MAX_FEE + dust));
        _request(MAX_FEE + dust, block.timestamp + 1, 0, "");
    }

    function test_request_feeOverField_reverts() public {
        uint256 largest = uint256(type(uint40).max) * 1 gwei;
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.FeeTooLarge.selector, largest, largest + 1 gwei));
        _request(largest + 1 gwei, block.timestamp + 1, 0, "");
    }

    /// @dev C4: no request is accepted that could not pay for a receipt without fuel.
    function testFuzz_request_feeUnderFloor_reverts(uint256 callbackGas, uint256 fee) public {
        callbackGas = bound(callbackGas, 0, coprocessor.MAX_CALLBACK_GAS());
        uint256 floor = pool.fee(callbackGas, 0);
        fee = bound(fee, 0, floor / 1 gwei - 1) * 1 gwei;
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.FeeTooSmall.selector, floor, fee));
        _request(fee, block.timestamp + 1, callbackGas, "");
    }

    function test_request_feeAtFloor_accepted() public {
        assertTrue(
            _isOpen(_request(coprocessor.quote(pool, CALLBACK_GAS, 0, 0), block.timestamp + 1, CALLBACK_GAS, ""))
        );
    }

    function test_request_freePool_acceptsNoFee() public {
        pool = PoolLibrary.pack(address(registry), 0, 0, 0);
        assertTrue(_isOpen(_request(0, block.timestamp + 1, CALLBACK_GAS, "")));
    }

    function testFuzz_request_deadlineNotAhead_reverts(uint256 deadline) public {
        deadline = bound(deadline, 0, block.timestamp);
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.DeadlineTooEarly.selector, block.timestamp + 1, deadline));
        _request(MAX_FEE, deadline, 0, "");
    }

    function testFuzz_request_deadlineTooFar_reverts(uint256 deadline) public {
        uint256 latest = block.timestamp + coprocessor.MAX_WAIT();
        deadline = bound(deadline, latest + 1, type(uint64).max);
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.DeadlineTooLate.selector, latest, deadline));
        _request(MAX_FEE, deadline, 0, "");
    }

    /// @dev In 2106 deadlines stop fitting their field; until the last second they are refused, never truncated.
    function test_request_deadlineOverField_reverts() public {
        vm.warp(uint256(type(uint32).max) - 1 days);
        uint256 latest = type(uint32).max;
        assertTrue(_isOpen(_request(MAX_FEE, latest, 0, "")));
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.DeadlineTooLate.selector, latest, latest + 1));
        _request(MAX_FEE, latest + 1, 0, "");
    }

    function testFuzz_request_callbackGasAbsurd_reverts(uint32 callbackGas) public {
        uint256 largest = coprocessor.MAX_CALLBACK_GAS();
        callbackGas = uint32(bound(callbackGas, largest + 1, type(uint32).max));
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.CallbackGasTooLarge.selector, largest, callbackGas));
        _request(100 ether, block.timestamp + 1, callbackGas, "");
    }

    function test_request_inputAtCap_accepted() public {
        assertTrue(_isOpen(_request(MAX_FEE, block.timestamp + 1, 0, new bytes(coprocessor.MAX_INPUT_BYTES()))));
    }

    function test_request_inputOverCap_reverts() public {
        uint256 largest = coprocessor.MAX_INPUT_BYTES();
        vm.expectRevert(abi.encodeWithSelector(ICoprocessor.InputTooLarge.selector, largest, largest + 1));
        _request(MAX_FEE, block.timestamp + 1, 0, new bytes(largest + 1));
    }

    /// @dev C5: a pause stops new requests.
    function test_request_paused_reverts() public {
        vm.prank(OWNER);
        coprocessor.pause();
        vm.expectRevert(ICoprocessor.RequestsPaused.selector);
        _request(MAX_FEE, block.timestamp + 1, 0, "");
        vm.prank(OWNER);
        coprocessor.unpause();
        assertTrue(_isOpen(_request(MAX_FEE, block.timestamp + 1, 0, "")));
    }

    function test_request_throughBaseContract_isTheConsumersOwn() public {
        RecordingConsumer consumer = new RecordingConsumer(coprocessor);
        RequestId requestId = _ask(Asker(address(consumer)));
        assertEq(coprocessor.openRequest(requestId, pool).consumer(), address(consumer));
        assertEq(address(coprocessor).balance, MAX_FEE);
    }

    function testFuzz_quote_anyFuel_coversFeeInWholeGwei(uint24 callbackGas, uint64 fuel) public view {
        uint256 quoted = coprocessor.quote(pool, callbackGas, fuel, 0);
        uint256 fee = pool.fee(callbackGas, fuel);
        assertGe(quoted, fee);
        assertLt(quoted - fee, 1 gwei);
        assertEq(quoted % 1 gwei, 0);
    }

    /// @dev What it costs to post an output is priced like callback gas, at the floor price of calldata.
    function testFuzz_quote_output_isPricedAsGas(uint24 callbackGas, uint64 fuel, uint16 outputBytes) public view {
        uint256 gas = uint256(callbackGas) + 40 * uint256(outputBytes);
        assertApproxEqAbs(coprocessor.quote(pool, callbackGas, fuel, outputBytes), pool.fee(gas, fuel), 1 gwei);
    }
}
