// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Fixture} from "../Fixture.sol";

import {RainInsurance} from "contracts/consumer/examples/RainInsurance.sol";
import {Delivery} from "contracts/interfaces/ICoprocessor.sol";
import {Outcome} from "contracts/types/Receipt.sol";
import {RequestId} from "contracts/types/Request.sol";

/// @notice The example that the demo runs: who is paid, who is not, and that nothing blocks or drains it.
contract RainInsuranceTest is Fixture {
    RainInsurance private insurance;
    address private immutable INSURER = makeAddr("insurer");
    address private immutable FARMER = makeAddr("farmer");
    address private immutable PUBLISHER = makeAddr("publisher");
    bytes32 private constant RECORD = keccak256("weather record");
    uint96 private constant PAYOUT = 10 ether;
    uint96 private constant PREMIUM = 1 ether;
    uint96 private constant CAPITAL = 30 ether;
    uint32 private constant THRESHOLD = 200;
    uint32 private constant SALE = 1 hours;
    uint32 private constant CLAIM = 1 days;

    function setUp() public override {
        super.setUp();
        vm.deal(INSURER, 100 ether);
        vm.deal(FARMER, 100 ether);
        vm.prank(INSURER);
        insurance = RainInsurance(
            payable(_deploy("RainInsurance", abi.encode(coprocessor, PROGRAM, pool, PUBLISHER), CAPITAL))
        );
        vm.prank(PUBLISHER);
        insurance.publishRecord(RECORD);
    }

    function _terms(uint96 payout) private view returns (RainInsurance.Policy memory terms) {
        terms.payout = payout;
        terms.premium = PREMIUM;
        terms.thresholdTenthsMm = THRESHOLD;
        (terms.firstDay, terms.lastDay) = (20_120_801, 20_120_831);
        terms.saleEnds = uint32(vm.getBlockTimestamp()) + SALE;
        terms.claimEnds = uint32(vm.getBlockTimestamp()) + CLAIM;
    }

    function _offer(uint96 payout) private returns (uint256 policyId) {
        vm.prank(INSURER);
        return insurance.offer(_terms(payout));
    }

    function _sell(uint96 payout) private returns (uint256 policyId) {
        policyId = _offer(payout);
        vm.prank(FARMER);
        insurance.buy{value: PREMIUM}(policyId);
    }

    function _assess(uint256 policyId) private returns (RequestId) {
        return insurance.assess{value: MAX_FEE}(policyId);
    }

    function _state(uint256 policyId) private view returns (uint8) {
        (,,,,,,,, RainInsurance.State state) = insurance.policies(policyId);
        return uint8(state);
    }

    function _end(RequestId requestId, Outcome outcome, bytes memory output) private {
        Delivery memory delivery = Delivery(requestId, 1, outcome, output, 0);
        _submit(delivery, _prove(delivery));
    }

    function _rained(RequestId requestId, uint256 rain) private {
        _end(requestId, Outcome.Completed, abi.encode(rain, uint256(31), uint256(20)));
    }

    /// @dev Less rain than agreed pays the farmer, anything else frees the capital.
    function testFuzz_assess_completed_paysIfLessRainThanThreshold(uint256 rain) public {
        uint256 policyId = _sell(PAYOUT);
        _rained(_assess(policyId), rain);

        bool dry = rain < THRESHOLD;
        assertEq(_state(policyId), uint8(dry ? RainInsurance.State.Paid : RainInsurance.State.Lapsed));
        assertEq(insurance.owed(FARMER), dry ? PAYOUT : 0);
        assertEq(insurance.reserved(), dry ? PAYOUT : 0);
        uint256 before = FARMER.balance;
        vm.prank(FARMER);
        insurance.withdraw();
        assertEq(FARMER.balance - before, dry ? PAYOUT : 0);
        assertEq(insurance.reserved(), 0);
    }

    /// @dev The program gets the published record's hash and the two days.
    function test_assess_input_isRecordAndDays() public {
        uint256 policyId = _sell(PAYOUT);
        bytes memory input = abi.encode(RECORD, uint32(20_120_801), uint32(20_120_831));
        uint256 fee = coprocessor.quote(pool, insurance.CALLBACK_GAS(), 1_000, 96);
        uint64 deadline = uint64(block.timestamp) + insurance.WAIT();
        vm.expectCall(
            address(coprocessor),
            fee,
            abi.encodeCall(coprocessor.request, (PROGRAM, pool, deadline, insurance.CALLBACK_GAS(), input))
        );
        insurance.assess{value: fee}(policyId);
    }

    /// @dev A failed run decides nothing, and its reason is logged up to 256 bytes, however long it is.
    function testFuzz_assess_failedRun_leavesPolicySold(uint8 number, uint16 length) public {
        Outcome outcome = Outcome(bound(number, 2, uint8(type(Outcome).max)));
        bytes memory reason = new bytes(bound(length, 0, 20_000));
        bytes memory logged = new bytes(reason.length < 256 ? reason.length : 256);
        uint256 policyId = _sell(PAYOUT);
        RequestId requestId = _assess(policyId);
        vm.expectEmit(address(insurance));
        emit RainInsurance.AssessmentFailed(policyId, outcome, logged);
        _end(requestId, outcome, reason);
        assertEq(_state(policyId), uint8(RainInsurance.State.Sold));
        assertEq(insurance.reserved(), PAYOUT);

        _rained(_assess(policyId), 0);
        assertEq(insurance.owed(FARMER), PAYOUT);
    }

    /// @dev Nor does an output of another shape.
    function testFuzz_assess_outputOfWrongSize_leavesPolicySold(bytes memory output) public {
        vm.assume(output.length != 96);
        uint256 policyId = _sell(PAYOUT);
        _end(_assess(policyId), Outcome.Completed, output);
        assertEq(_state(policyId), uint8(RainInsurance.State.Sold));
    }

    /// @dev Nor an expiry, whose refund is the insurer's.
    function test_assess_expired_leavesPolicySold() public {
        uint256 policyId = _sell(PAYOUT);
        RequestId requestId = _assess(policyId);
        vm.warp(vm.getBlockTimestamp() + 2 hours);
        vm.expectEmit(address(insurance));
        emit RainInsurance.AssessmentExpired(policyId);
        coprocessor.expire(requestId, pool);
        assertEq(_state(policyId), uint8(RainInsurance.State.Sold));
        assertEq(insurance.collectRefunds(_list(address(0))), MAX_FEE);
    }

    /// @dev A stranger's assessment, unserved or starved of fuel, does not stand in the farmer's way.
    function test_assess_whileAnotherIsOpen_firstCompletedDecides() public {
        uint256 policyId = _sell(PAYOUT);
        RequestId strangers = _assess(policyId);
        RequestId farmers = _assess(policyId);
        RequestId late = _assess(policyId);
        _end(strangers, Outcome.OutOfFuel, "out of fuel");
        _rained(farmers, 0);
        _rained(late, 10_000);
        assertEq(_state(policyId), uint8(RainInsurance.State.Paid));
        assertEq(insurance.owed(FARMER), PAYOUT);
        vm.expectPartialRevert(RainInsurance.PolicyNotInState.selector);
        _assess(policyId);
    }

    function test_assess_notSoldOrNoRecord_reverts() public {
        uint256 offered = _offer(PAYOUT);
        vm.expectPartialRevert(RainInsurance.PolicyNotInState.selector);
        _assess(offered);
        vm.expectPartialRevert(RainInsurance.PolicyNotInState.selector);
        _assess(99);

        uint256 policyId = _sell(PAYOUT);
        vm.prank(PUBLISHER);
        insurance.publishRecord(0);
        vm.expectRevert(RainInsurance.RecordMissing.selector);
        _assess(policyId);
    }

    /// @dev Terms are the insurer's, the record is the publisher's: nobody insures against weather of their own making.
    function testFuzz_termsAndRecord_stranger_reverts(address stranger) public {
        vm.assume(stranger != INSURER && stranger != PUBLISHER);
        RainInsurance.Policy memory terms = _terms(PAYOUT);
        vm.startPrank(stranger);
        vm.expectRevert(abi.encodeWithSelector(RainInsurance.NotInsurer.selector, stranger));
        insurance.offer(terms);
        vm.expectRevert(abi.encodeWithSelector(RainInsurance.NotPublisher.selector, stranger));
        insurance.publishRecord(keccak256("no rain at all"));
        vm.expectRevert(abi.encodeWithSelector(RainInsurance.NotInsurer.selector, stranger));
        insurance.withdrawCapital(1);
    }

    /// @dev Whatever the terms say, an offer has no farmer and is not sold.
    function testFuzz_offer_anyFarmerAndState_ignored(address farmer, uint8 state) public {
        RainInsurance.Policy memory terms = _terms(PAYOUT);
        terms.farmer = farmer;
        terms.state = RainInsurance.State(bound(state, 0, uint8(type(RainInsurance.State).max)));
        vm.prank(INSURER);
        uint256 policyId = insurance.offer(terms);
        assertEq(_state(policyId), uint8(RainInsurance.State.Offered));
        (address stored,,,,,,,,) = insurance.policies(policyId);
        assertEq(stored, address(0));
        assertEq(insurance.reserved(), 0);
    }

    function test_offer_daysOutOfOrderOrSaleOver_reverts() public {
        RainInsurance.Policy memory terms = _terms(PAYOUT);
        terms.lastDay = terms.firstDay - 1;
        vm.startPrank(INSURER);
        vm.expectPartialRevert(RainInsurance.DaysOutOfOrder.selector);
        insurance.offer(terms);
        terms = _terms(PAYOUT);
        terms.saleEnds = uint32(block.timestamp) - 1;
        vm.expectPartialRevert(RainInsurance.SaleOver.selector);
        insurance.offer(terms);
    }

    /// @dev A policy is bought once, for its premium, before its sale ends.
    function test_buy_twiceLateOrForAnotherPrice_reverts() public {
        uint256 policyId = _offer(PAYOUT);
        vm.startPrank(FARMER);
        vm.expectRevert(abi.encodeWithSelector(RainInsurance.PremiumWrong.selector, PREMIUM, PREMIUM - 1));
        insurance.buy{value: PREMIUM - 1}(policyId);
        insurance.buy{value: PREMIUM}(policyId);
        vm.expectPartialRevert(RainInsurance.PolicyNotInState.selector);
        insurance.buy{value: PREMIUM}(policyId);
        vm.stopPrank();

        policyId = _offer(PAYOUT);
        vm.warp(vm.getBlockTimestamp() + SALE + 1);
        vm.prank(FARMER);
        vm.expectPartialRevert(RainInsurance.SaleOver.selector);
        insurance.buy{value: PREMIUM}(policyId);
    }

    /// @dev No policy is sold that the capital does not cover.
    function testFuzz_buy_beyondCapital_reverts(uint96 payout) public {
        payout = uint96(bound(payout, CAPITAL + PREMIUM + 1, type(uint96).max));
        uint256 policyId = _offer(payout);
        vm.prank(FARMER);
        vm.expectPartialRevert(RainInsurance.CapitalTooSmall.selector);
        insurance.buy{value: PREMIUM}(policyId);
    }

    /// @dev Nor is capital withdrawn that a policy may claim.
    function testFuzz_withdrawCapital_promised_reverts(uint256 amount) public {
        _sell(PAYOUT);
        uint256 free = insurance.freeCapital();
        assertEq(free, CAPITAL + PREMIUM - PAYOUT);
        vm.startPrank(INSURER);
        vm.expectPartialRevert(RainInsurance.CapitalTooSmall.selector);
        insurance.withdrawCapital(bound(amount, free + 1, type(uint128).max));
        insurance.withdrawCapital(free);
        assertEq(address(insurance).balance, PAYOUT);
    }

    /// @dev A policy that nobody can decide does not lock its capital for ever; a late receipt changes nothing.
    function test_lapse_afterClaimEnds_freesCapital() public {
        uint256 policyId = _sell(PAYOUT);
        vm.expectPartialRevert(RainInsurance.ClaimNotOver.selector);
        insurance.lapse(policyId);
        vm.warp(vm.getBlockTimestamp() + CLAIM + 1);
        RequestId late = _assess(policyId);
        insurance.lapse(policyId);
        assertEq(insurance.reserved(), 0);
        _rained(late, 0);
        assertEq(insurance.owed(FARMER), 0);
        vm.expectPartialRevert(RainInsurance.PolicyNotInState.selector);
        insurance.lapse(policyId);
    }
}
