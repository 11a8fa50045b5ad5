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
/// @dev How much fell is computed off-chain, by a program over a weather record that the policy names by hash; so
/// nobody judges a claim. Insurer, farmers and whoever pays for an assessment pull their money.
///  - Every payout that is still possible is covered by this contract's balance from the sale on.
///  - A policy is decided at most once, and only by a completed run; anything else leaves it open to be tried again.
contract RainInsurance is CoprocessorConsumer {
    /// @notice `Assessing` while a request about the policy is open.
    enum State {
        None,
        Open,
        Assessing,
        Paid,
        Lapsed
    }

    /// @param thresholdTenthsMm Less rain than this, in tenths of a millimetre, pays.
    /// @param firstDay First and last day that count, as yyyymmdd.
    /// @param record keccak256 of the weather record, a CSV file.
    struct Policy {
        address farmer;
        uint96 payout;
        uint32 thresholdTenthsMm;
        uint32 firstDay;
        uint32 lastDay;
        State state;
        bytes32 record;
    }

    ProgramId public immutable PROGRAM;
    PoolId public immutable POOL;
    address public immutable INSURER;
    /// @notice What the callback may use: it writes three words.
    uint32 public constant CALLBACK_GAS = 120_000;
    uint256 private constant OUTPUT_BYTES = 96;

    uint256 public policyCount;
    mapping(uint256 policyId => Policy) public policies;
    mapping(RequestId => uint256 policyId) public policyOf;
    mapping(address => uint256) public owed;
    /// @notice The part of the balance that is promised: possible payouts, and money owed.
    uint256 public reserved;

    event PolicySold(uint256 indexed policyId, address indexed farmer, uint256 payout);
    event AssessmentRequested(uint256 indexed policyId, RequestId indexed requestId);
    event PolicyAssessed(
        uint256 indexed policyId, uint256 rainTenthsMm, uint256 dayCount, uint256 longestDrySpellDays, bool paid
    );
    event AssessmentFailed(uint256 indexed policyId, Outcome outcome, bytes reason);
    event AssessmentExpired(uint256 indexed policyId);
    event Withdrawn(address indexed account, uint256 amount);

    error NotInsurer(address caller);
    error CapitalTooSmall(uint256 needed, uint256 free);
    error DaysOutOfOrder(uint32 firstDay, uint32 lastDay);
    error PolicyNotOpen(uint256 policyId, State state);

    constructor(ICoprocessor coprocessor, ProgramId program, PoolId pool) payable CoprocessorConsumer(coprocessor) {
        PROGRAM = program;
        POOL = pool;
        INSURER = msg.sender;
    }

    /// @notice Capital from the insurer, or a refund from the coprocessor.
    receive() external payable {}

    /// @notice Sells a policy to the caller, who pays the premium: a tenth of the payout.
    function buy(uint96 payout, uint32 thresholdTenthsMm, uint32 firstDay, uint32 lastDay, bytes32 record)
        external
        payable
        returns (uint256 policyId)
    {
        require(firstDay <= lastDay, DaysOutOfOrder(firstDay, lastDay));
        require(msg.value >= premium(payout), CapitalTooSmall(premium(payout), msg.value));
        uint256 free = freeCapital();
        require(payout <= free, CapitalTooSmall(payout, free));

        reserved += payout;
        policyId = ++policyCount;
        policies[policyId] = Policy({
            farmer: msg.sender,
            payout: payout,
            thresholdTenthsMm: thresholdTenthsMm,
            firstDay: firstDay,
            lastDay: lastDay,
            state: State.Open,
            record: record
        });
        emit PolicySold(policyId, msg.sender, payout);
    }

    /// @notice Has the policy assessed. Anyone may; the caller pays with `msg.value`, of which `COPROCESSOR.quote`
    /// says how much is enough, and what is not charged goes to the insurer's capital.
    /// @param wait Seconds after which an unanswered assessment expires and may be tried again.
    function assess(uint256 policyId, uint256 wait) external payable returns (RequestId requestId) {
        Policy storage policy = policies[policyId];
        require(policy.state == State.Open, PolicyNotOpen(policyId, policy.state));
        policy.state = State.Assessing;
        bytes memory input = abi.encode(policy.record, policy.firstDay, policy.lastDay);
        requestId = _request(PROGRAM, POOL, input, CALLBACK_GAS, wait, msg.value);
        policyOf[requestId] = policyId;
        emit AssessmentRequested(policyId, requestId);
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
    function withdrawCapital(uint256 amount) external {
        require(msg.sender == INSURER, NotInsurer(msg.sender));
        require(amount <= freeCapital(), CapitalTooSmall(amount, freeCapital()));
        emit Withdrawn(msg.sender, amount);
        SafeTransferLib.safeTransferETH(msg.sender, amount);
    }

    /// @notice Collects what assessments did not cost. Expired ones are refunded under the zero address.
    function collectRefunds(address[] calldata payees) external returns (uint256) {
        return _withdrawRefunds(payees, payable(address(this)));
    }

    /// @return What a policy costs, in wei.
    function premium(uint96 payout) public pure returns (uint256) {
        return payout / 10;
    }

    /// @return The part of the balance that nobody can claim, in wei.
    function freeCapital() public view returns (uint256) {
        return address(this).balance - reserved;
    }

    /// @dev `output` is abi.encode(uint256 rainTenthsMm, uint256 dayCount, uint256 longestDrySpellDays).
    function _onReceipt(RequestId requestId, Outcome outcome, bytes calldata output) internal override {
        uint256 policyId = policyOf[requestId];
        Policy storage policy = policies[policyId];
        // Never revert here: a callback that fails is not repeated, and the policy would stay `Assessing`.
        if (outcome != Outcome.Completed || output.length != OUTPUT_BYTES) {
            policy.state = State.Open;
            emit AssessmentFailed(policyId, outcome, output);
            return;
        }
        (uint256 rain, uint256 dayCount, uint256 drySpell) = abi.decode(output, (uint256, uint256, uint256));

        bool paid = rain < policy.thresholdTenthsMm;
        policy.state = paid ? State.Paid : State.Lapsed;
        if (paid) owed[policy.farmer] += policy.payout;
        else reserved -= policy.payout;
        emit PolicyAssessed(policyId, rain, dayCount, drySpell, paid);
    }

    /// @dev The fee has been refunded; the policy may be assessed again.
    function _onExpired(RequestId requestId) internal override {
        uint256 policyId = policyOf[requestId];
        policies[policyId].state = State.Open;
        emit AssessmentExpired(policyId);
    }
}
