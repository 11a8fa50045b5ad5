// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Fixture} from "../Fixture.sol";

import {RainInsurance} from "contracts/consumer/examples/RainInsurance.sol";
import {Delivery} from "contracts/interfaces/ICoprocessor.sol";
import {Outcome} from "contracts/types/Receipt.sol";
import {RequestId} from "contracts/types/Request.sol";

/// @notice The example that the demo runs: who is paid, who is not, and that failures leave the policy open.
contract RainInsuranceTest is Fixture {
    RainInsurance private insurance;
    address private immutable INSURER = makeAddr("insurer");
    address private immutable FARMER = makeAddr("farmer");
    bytes32 private constant RECORD = keccak256("weather record");
    uint96 private constant PAYOUT = 10 ether;
    uint32 private constant THRESHOLD = 200;

    function setUp() public override {
        super.setUp();
        vm.deal(INSURER, 100 ether);
        vm.deal(FARMER, 10 ether);
        vm.prank(INSURER);
        insurance = new RainInsurance{value: 30 ether}(coprocessor, PROGRAM, pool);
    }

    function _buy(uint96 payout) private returns (uint256 policyId) {
        uint256 premium = insurance.premium(payout);
        vm.prank(FARMER);
        return insurance.buy{value: premium}(payout, THRESHOLD, 20_120_801, 20_120_831, RECORD);
    }

    function _assess(uint256 policyId) private returns (RequestId) {
        return insurance.assess{value: MAX_FEE}(policyId, 1 hours);
    }

    function _state(uint256 policyId) private view returns (RainInsurance.State state) {
        (,,,,, state,) = insurance.policies(policyId);
    }

    function _fail(RequestId requestId, Outcome outcome, bytes memory output) private {
        Delivery memory delivery = Delivery(requestId, 1, outcome, output);
        _submit(delivery, _prove(delivery));
    }

    /// @dev RI1: less rain than agreed pays the farmer, anything else frees the capital.
    function testFuzz_assess_completed_paysIfLessRainThanThreshold(uint256 rain) public {
        uint256 policyId = _buy(PAYOUT);
        RequestId requestId = _assess(policyId);
        assertEq(uint8(_state(policyId)), uint8(RainInsurance.State.Assessing));
        _fulfill(requestId, abi.encode(rain, uint256(31), uint256(20)));

        bool dry = rain < THRESHOLD;
        assertEq(uint8(_state(policyId)), uint8(dry ? RainInsurance.State.Paid : RainInsurance.State.Lapsed));
        assertEq(insurance.owed(FARMER), dry ? PAYOUT : 0);
        assertEq(insurance.reserved(), dry ? PAYOUT : 0);
        uint256 before = FARMER.balance;
        vm.prank(FARMER);
        insurance.withdraw();
        assertEq(FARMER.balance - before, dry ? PAYOUT : 0);
        assertEq(insurance.reserved(), 0);
    }

    /// @dev The program gets the record's hash and the two days.
    function test_assess_input_isRecordAndDays() public {
        uint256 policyId = _buy(PAYOUT);
        bytes memory input = abi.encode(RECORD, uint32(20_120_801), uint32(20_120_831));
        uint256 fee = coprocessor.quote(pool, insurance.CALLBACK_GAS(), 1_000);
        vm.expectCall(
            address(coprocessor),
            fee,
            abi.encodeCall(
                coprocessor.request, (PROGRAM, pool, uint64(block.timestamp + 1 hours), insurance.CALLBACK_GAS(), input)
            )
        );
        insurance.assess{value: fee}(policyId, 1 hours);
    }

    /// @dev RI2: a failed run decides nothing; the policy may be assessed again.
    function testFuzz_assess_failedRun_reopens(uint8 number, bytes memory reason) public {
        vm.assume(reason.length <= 256);
        Outcome outcome = Outcome(bound(number, 2, uint8(type(Outcome).max)));
        uint256 policyId = _buy(PAYOUT);
        RequestId requestId = _assess(policyId);
        vm.expectEmit(address(insurance));
        emit RainInsurance.AssessmentFailed(policyId, outcome, reason);
        _fail(requestId, outcome, reason);
        assertEq(uint8(_state(policyId)), uint8(RainInsurance.State.Open));
        assertEq(insurance.reserved(), PAYOUT);

        _fulfill(_assess(policyId), abi.encode(uint256(0), uint256(31), uint256(31)));
        assertEq(insurance.owed(FARMER), PAYOUT);
    }

    /// @dev RI2: nor does an output of another shape.
    function testFuzz_assess_outputOfWrongSize_reopens(bytes memory output) public {
        vm.assume(output.length != 96 && output.length < 512);
        uint256 policyId = _buy(PAYOUT);
        _fulfill(_assess(policyId), output);
        assertEq(uint8(_state(policyId)), uint8(RainInsurance.State.Open));
    }

    /// @dev RI2: nor an expiry.
    function test_assess_expired_reopens() public {
        uint256 policyId = _buy(PAYOUT);
        RequestId requestId = _assess(policyId);
        vm.warp(vm.getBlockTimestamp() + 2 hours);
        vm.expectEmit(address(insurance));
        emit RainInsurance.AssessmentExpired(policyId);
        coprocessor.expire(requestId, pool);
        assertEq(uint8(_state(policyId)), uint8(RainInsurance.State.Open));
        assertEq(insurance.collectRefunds(_list(address(0))), MAX_FEE);
    }

    /// @dev RI3: a policy is decided at most once, and assessed by one request at a time.
    function test_assess_assessingOrDecided_reverts() public {
        uint256 policyId = _buy(PAYOUT);
        RequestId requestId = _assess(policyId);
        vm.expectPartialRevert(RainInsurance.PolicyNotOpen.selector);
        _assess(policyId);
        _fulfill(requestId, abi.encode(uint256(0), uint256(31), uint256(31)));
        vm.expectPartialRevert(RainInsurance.PolicyNotOpen.selector);
        _assess(policyId);
        vm.expectPartialRevert(RainInsurance.PolicyNotOpen.selector);
        _assess(99);
    }

    /// @dev RI4: no policy is sold that the capital does not cover.
    function testFuzz_buy_beyondCapital_reverts(uint96 payout) public {
        payout = uint96(bound(payout, 40 ether, 1_000_000 ether));
        uint256 premium = insurance.premium(payout);
        vm.deal(FARMER, premium);
        vm.assume(payout > 30 ether + premium);
        vm.prank(FARMER);
        vm.expectPartialRevert(RainInsurance.CapitalTooSmall.selector);
        insurance.buy{value: premium}(payout, THRESHOLD, 1, 2, RECORD);
    }

    /// @dev RI4: nor is capital withdrawn that a policy may claim.
    function testFuzz_withdrawCapital_promised_reverts(uint256 amount) public {
        _buy(PAYOUT);
        uint256 free = insurance.freeCapital();
        assertEq(free, 30 ether + insurance.premium(PAYOUT) - PAYOUT);
        vm.startPrank(INSURER);
        vm.expectPartialRevert(RainInsurance.CapitalTooSmall.selector);
        insurance.withdrawCapital(bound(amount, free + 1, type(uint128).max));
        insurance.withdrawCapital(free);
        assertEq(address(insurance).balance, PAYOUT);
    }

    function test_withdrawCapital_notInsurer_reverts() public {
        vm.prank(FARMER);
        vm.expectRevert(abi.encodeWithSelector(RainInsurance.NotInsurer.selector, FARMER));
        insurance.withdrawCapital(1);
    }

    function test_buy_daysOutOfOrderOrPremiumMissing_reverts() public {
        vm.expectPartialRevert(RainInsurance.DaysOutOfOrder.selector);
        insurance.buy{value: 1 ether}(PAYOUT, THRESHOLD, 2, 1, RECORD);
        vm.expectPartialRevert(RainInsurance.CapitalTooSmall.selector);
        insurance.buy(PAYOUT, THRESHOLD, 1, 2, RECORD);
    }

    /// @dev The callback fits its gas even where every word is written for the first time.
    function test_assess_firstPayout_callbackFitsItsGas() public {
        uint256 policyId = _buy(PAYOUT);
        RequestId requestId = _assess(policyId);
        _fulfill(requestId, abi.encode(uint256(1), uint256(31), uint256(31)));
        assertEq(insurance.owed(FARMER), PAYOUT);
        policyId = _buy(PAYOUT);
        _fail(_assess(policyId), Outcome.Trapped, new bytes(256));
        assertEq(uint8(_state(policyId)), uint8(RainInsurance.State.Open));
    }
}
