// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";

import {ICoprocessor} from "../../interfaces/ICoprocessor.sol";
import {PoolId} from "../../types/Pool.sol";
import {ProgramId} from "../../types/Program.sol";
import {Outcome} from "../../types/Receipt.sol";
import {RequestId} from "../../types/Request.sol";
import {CoprocessorConsumer} from "../CoprocessorConsumer.sol";

/// @title RainInsurance
/// @notice Parametric crop insurance: a policy pays its farmer if less rain than agreed fell between two days.
/// @dev The insurer writes the terms, a farmer buys them before the insured days, a publisher whom both trust names
/// the weather record by its hash, and a program computes how much fell. So nobody judges a claim.
///  - Every payout that is still possible is covered by this contract's balance from the sale on.
///  - A policy is decided at most once, by the first completed run over the published record. Anything else leaves it
///    as it was: anyone may ask again, at any time, and no request can block another.
///  - A policy that nobody has decided by its last day to claim lapses, so no capital is locked for ever.
contract RainInsurance is CoprocessorConsumer {
    enum State {
        None,
        Offered,
        Sold,
        Paid,
        Lapsed
    }

    /// @param thresholdTenthsMm Less rain than this, in tenths of a millimetre, pays.
    /// @param firstDay First and last day that count, as yyyymmdd.
    /// @param saleEnds Unix seconds. The insurer sets it to before the weather can be known.
    /// @param claimEnds Unix seconds after which an undecided policy lapses.
    struct Policy {
        address farmer;
        uint96 payout;
        uint96 premium;
        uint32 thresholdTenthsMm;
        uint32 firstDay;
        uint32 lastDay;
        uint32 saleEnds;
        uint32 claimEnds;
        State state;
    }

    ProgramId public immutable PROGRAM;
    PoolId public immutable POOL;
    address public immutable INSURER;
    /// @notice Who says which weather record counts.
    address public immutable PUBLISHER;
    /// @notice What the callback may use: it writes three words.
    uint32 public constant CALLBACK_GAS = 120_000;
    /// @notice How long an assessment may take, in seconds.
    uint64 public constant WAIT = 5 minutes;
    uint256 private constant OUTPUT_BYTES = 96;
    uint256 private constant MAX_REASON_BYTES = 256;

    /// @notice keccak256 of the weather record, a CSV file.
    bytes32 public record;
    uint256 public policyCount;
    mapping(uint256 policyId => Policy) public policies;
    mapping(RequestId => uint256 policyId) public policyOf;
    mapping(address => uint256) public owed;
    /// @notice The part of the balance that is promised: possible payouts, and money owed.
    uint256 public reserved;

    event PolicyOffered(uint256 indexed policyId, uint256 payout, uint256 premium);
    event PolicySold(uint256 indexed policyId, address indexed farmer);
    event RecordPublished(bytes32 record);
    event AssessmentRequested(uint256 indexed policyId, RequestId indexed requestId);
    event PolicyAssessed(
        uint256 indexed policyId, uint256 rainTenthsMm, uint256 dayCount, uint256 longestDrySpellDays, bool paid
    );
    event AssessmentFailed(uint256 indexed policyId, Outcome outcome, bytes reason);
    event AssessmentExpired(uint256 indexed policyId);
    event PolicyLapsed(uint256 indexed policyId);
    event Withdrawn(address indexed account, uint256 amount);

    error NotInsurer(address caller);
    error NotPublisher(address caller);
    error CapitalTooSmall(uint256 needed, uint256 free);
    error PremiumWrong(uint256 expected, uint256 actual);
    error DaysOutOfOrder(uint32 firstDay, uint32 lastDay);
    error SaleOver(uint256 saleEnds, uint256 timestamp);
    error ClaimNotOver(uint256 claimEnds, uint256 timestamp);
    error PolicyNotInState(uint256 policyId, State expected, State actual);
    error RecordMissing();

    modifier onlyInsurer() {
        require(msg.sender == INSURER, NotInsurer(msg.sender));
        _;
    }

    constructor(ICoprocessor coprocessor, ProgramId program, PoolId pool, address publisher)
        payable
        CoprocessorConsumer(coprocessor)
    {
        PROGRAM = program;
        POOL = pool;
        INSURER = msg.sender;
        PUBLISHER = publisher;
    }

    /// @notice Capital from the insurer, or a refund from the coprocessor.
    receive() external payable {}

    /// @notice Offers a policy on `terms`, of which `farmer` and `state` are ignored.
    function offer(Policy calldata terms) external onlyInsurer returns (uint256 policyId) {
        require(terms.firstDay <= terms.lastDay, DaysOutOfOrder(terms.firstDay, terms.lastDay));
        require(terms.saleEnds >= block.timestamp, SaleOver(terms.saleEnds, block.timestamp));
        policyId = ++policyCount;
        policies[policyId] = terms;
        policies[policyId].farmer = address(0);
        policies[policyId].state = State.Offered;
        emit PolicyOffered(policyId, terms.payout, terms.premium);
    }

    /// @notice Buys an offered policy for exactly its premium.
    function buy(uint256 policyId) external payable {
        Policy storage policy = _inState(policyId, State.Offered);
        require(block.timestamp <= policy.saleEnds, SaleOver(policy.saleEnds, block.timestamp));
        require(msg.value == policy.premium, PremiumWrong(policy.premium, msg.value));
        require(policy.payout <= freeCapital(), CapitalTooSmall(policy.payout, freeCapital()));

        reserved += policy.payout;
        policy.farmer = msg.sender;
        policy.state = State.Sold;
        emit PolicySold(policyId, msg.sender);
    }

    /// @notice Says which weather record counts from now on.
    function publishRecord(bytes32 record_) external {
        require(msg.sender == PUBLISHER, NotPublisher(msg.sender));
        record = record_;
        emit RecordPublished(record_);
    }

    /// @notice Has a policy assessed. Anyone may, as often as they pay for: `COPROCESSOR.quote` says how much is
    /// enough, and what is not charged goes to the insurer's capital.
    function assess(uint256 policyId) external payable returns (RequestId requestId) {
        Policy storage policy = _inState(policyId, State.Sold);
        require(record != 0, RecordMissing());
        bytes memory input = abi.encode(record, policy.firstDay, policy.lastDay);
        requestId = _request(PROGRAM, POOL, input, CALLBACK_GAS, WAIT, msg.value);
        policyOf[requestId] = policyId;
        emit AssessmentRequested(policyId, requestId);
    }

    /// @notice Ends a policy that nobody decided in time, and frees its capital. Anyone may.
    function lapse(uint256 policyId) external {
        Policy storage policy = _inState(policyId, State.Sold);
        require(block.timestamp > policy.claimEnds, ClaimNotOver(policy.claimEnds, block.timestamp));
        policy.state = State.Lapsed;
        reserved -= policy.payout;
        emit PolicyLapsed(policyId);
    }

    /// @notice Sends the caller what it is owed.
    function withdraw() external {
        uint256 amount = owed[msg.sender];
        owed[msg.sender] = 0;
        reserved -= amount;
        emit Withdrawn(msg.sender, amount);
        SafeTransferLib.safeTransferETH(msg.sender, amount);
    }

    /// @notice Sends the insurer capital that no policy can claim.
    function withdrawCapital(uint256 amount) external onlyInsurer {
        require(amount <= freeCapital(), CapitalTooSmall(amount, freeCapital()));
        emit Withdrawn(msg.sender, amount);
        SafeTransferLib.safeTransferETH(msg.sender, amount);
    }

    /// @notice Collects what assessments did not cost. Expired ones are refunded under the zero address.
    function collectRefunds(address[] calldata payees) external returns (uint256) {
        return _withdrawRefunds(payees, payable(address(this)));
    }

    /// @return The part of the balance that nobody can claim, in wei.
    function freeCapital() public view returns (uint256) {
        return address(this).balance - reserved;
    }

    /// @dev `output` is abi.encode(uint256 rainTenthsMm, uint256 dayCount, uint256 longestDrySpellDays). Never
    /// reverts: a callback that fails is not repeated.
    function _onReceipt(RequestId requestId, Outcome outcome, bytes calldata output) internal override {
        uint256 policyId = policyOf[requestId];
        Policy storage policy = policies[policyId];
        if (policy.state != State.Sold) return; // an earlier receipt has decided
        if (outcome != Outcome.Completed || output.length != OUTPUT_BYTES) {
            uint256 length = output.length < MAX_REASON_BYTES ? output.length : MAX_REASON_BYTES;
            emit AssessmentFailed(policyId, outcome, output[:length]);
            return;
        }
        (uint256 rain, uint256 dayCount, uint256 drySpell) = abi.decode(output, (uint256, uint256, uint256));

        bool paid = rain < policy.thresholdTenthsMm;
        policy.state = paid ? State.Paid : State.Lapsed;
        if (paid) owed[policy.farmer] += policy.payout;
        else reserved -= policy.payout;
        emit PolicyAssessed(policyId, rain, dayCount, drySpell, paid);
    }

    /// @dev The fee has been refunded; the policy is as it was.
    function _onExpired(RequestId requestId) internal override {
        emit AssessmentExpired(policyOf[requestId]);
    }

    function _inState(uint256 policyId, State expected) private view returns (Policy storage policy) {
        policy = policies[policyId];
        require(policy.state == expected, PolicyNotInState(policyId, expected, policy.state));
    }
}
