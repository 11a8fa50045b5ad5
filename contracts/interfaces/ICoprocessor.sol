// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {PoolId} from "../types/Pool.sol";
import {ProgramId} from "../types/Program.sol";
import {Outcome, Receipt} from "../types/Receipt.sol";
import {OpenRequest, RequestId, Terms} from "../types/Request.sol";
import {Settlement} from "../types/Settlement.sol";

/// @notice A receipt as it is delivered: the output instead of its hash; the payee is given once per call.
struct Delivery {
    RequestId requestId;
    uint64 fuelUsed;
    Outcome outcome;
    bytes output;
    bytes32 context;
}

/// @title ICoprocessor
/// @notice Contracts ask here for computations, enclaves answer here, and the money waits here.
/// @dev Whoever calls, a request is settled or expired at most once, and every wei that was escrowed for it ends
/// up earned by the payee or refunded to the consumer. All money is pulled.
interface ICoprocessor {
    /// @notice A request was opened. Everything that its id commits to is in this event.
    event RequestCreated(
        RequestId indexed requestId,
        PoolId indexed poolId,
        address indexed consumer,
        ProgramId programId,
        Terms terms,
        bytes input
    );

    /// @notice A receipt was accepted. The fee in `settlement` went to the payee's tab, the rest of the escrow to the
    /// consumer's.
    event RequestSettled(RequestId indexed requestId, address indexed payee, Settlement settlement);

    /// @notice Nobody answered in time; the whole escrow was refunded.
    event RequestExpired(RequestId indexed requestId, bool callbackSucceeded);

    /// @notice An item of a batch could not be settled and changed nothing.
    /// @param reason Selector of the error that `fulfill` would have reverted with: `RequestNotOpen` or
    /// `DeadlinePassed`.
    event DeliverySkipped(RequestId indexed requestId, bytes4 reason);

    event EarningsWithdrawn(address indexed payee, address indexed to, uint256 amount);
    event RefundsWithdrawn(address indexed consumer, address indexed to, uint256 amount);
    event Paused();
    event Unpaused();

    error RequestsPaused();
    error FeeNotWholeGwei(uint256 fee);
    error FeeTooSmall(uint256 minimum, uint256 actual);
    error FeeTooLarge(uint256 maximum, uint256 actual);
    error DeadlineTooEarly(uint256 minimum, uint256 actual);
    error DeadlineTooLate(uint256 maximum, uint256 actual);
    error CallbackGasTooLarge(uint256 maximum, uint256 actual);
    error InputTooLarge(uint256 maximum, uint256 actual);
    error RequestNotOpen(RequestId requestId, PoolId poolId);
    error DeadlinePassed(uint256 deadline, uint256 timestamp);
    error DeadlineNotPassed(uint256 deadline, uint256 timestamp);
    error OutcomeMissing(RequestId requestId);
    error PayeeMissing();
    error BatchEmpty();
    error ProofRejected(bytes32 digest);
    error RecipientMissing();

    /// @notice The most gas a callback may ask for: with it, an output of 256 KiB still settles within one
    /// transaction of 2^24 gas.
    function MAX_CALLBACK_GAS() external view returns (uint256);

    /// @notice The gas that `onExpired` gets, exactly.
    function EXPIRY_CALLBACK_GAS() external view returns (uint256);

    /// @notice The largest input in bytes. Larger facts go into blobs, of which the input carries the hash.
    function MAX_INPUT_BYTES() external view returns (uint256);

    /// @notice The furthest a deadline may lie ahead, in seconds.
    function MAX_WAIT() external view returns (uint256);

    /// @notice Asks for `programId` to be run on `input` by `poolId`, and to be called back with what it gave.
    /// @dev `msg.value` is the most that may be charged, in whole gwei; what is not charged is refunded.
    /// Warning: neither program nor pool is checked to exist. A request that nobody can serve expires.
    /// @param callbackGas What `onReceipt` gets, exactly; priced by the pool. Zero means: no callback at all,
    /// neither upon receipt nor upon expiry.
    /// @param deadline The last second (unix) in which a receipt is accepted, at most `MAX_WAIT` ahead.
    /// @return requestId Commits to all fields, the chain and this contract; unique by its nonce.
    function request(ProgramId programId, PoolId poolId, uint64 deadline, uint32 callbackGas, bytes calldata input)
        external
        payable
        returns (RequestId requestId);

    /// @notice Delivers one proven receipt and calls the consumer back. Anyone may call.
    /// @dev Reverts, with nothing changed, unless all of this holds, in this order:
    ///  1. the receipt has an outcome and a payee;
    ///  2. the request is open in this pool;
    ///  3. its deadline has not passed;
    ///  4. the pool's verifier accepts `proof` for the receipt;
    ///  5. there is gas enough left to give the callback exactly what was asked for.
    /// What the consumer does with its callback never makes this revert.
    /// The order of the parameters is that of the lowest selector: contracts look for their functions by number.
    /// @param context What the signed receipt says that the run depended on besides program and input; zero: nothing.
    /// @param payee Whom the signed receipt names as the earner of the fee.
    function fulfill(
        RequestId requestId,
        Outcome outcome,
        bytes32 context,
        PoolId poolId,
        uint64 fuelUsed,
        address payee,
        bytes calldata output,
        bytes calldata proof
    ) external;

    /// @notice Delivers receipts that one `proof` proves together, in order.
    /// @dev A wrong proof or too little gas reverts everything. An item whose request is not open or is late is
    /// skipped with `DeliverySkipped` and does not disturb the others. All items share pool and payee.
    function fulfillBatch(PoolId poolId, Delivery[] calldata deliveries, address payee, bytes calldata proof) external;

    /// @notice Closes a request that nobody answered in time: refunds the whole escrow and tells the consumer.
    /// Anyone may call, from the first second after the deadline.
    function expire(RequestId requestId, PoolId poolId) external;

    /// @notice Sends to `to` what the caller earned from requests of `consumers`.
    /// @return amount In wei. Reverts if `to` does not take it.
    function withdrawEarnings(address[] calldata consumers, address payable to) external returns (uint256 amount);

    /// @notice Sends to `to` what was refunded to the caller by settling with `payees`. Refunds of expired
    /// requests lie with the zero address.
    /// @return amount In wei. Reverts if `to` does not take it.
    function withdrawRefunds(address[] calldata payees, address payable to) external returns (uint256 amount);

    /// @notice Stops new requests. Settling, expiring and withdrawing go on. Only the owner.
    function pause() external;

    /// @notice Allows new requests again. Only the owner.
    function unpause() external;

    /// @notice What to send along with a request that may use `fuel` and answer with `outputBytes`: the fee in wei,
    /// rounded up to whole gwei. What is not charged is refunded.
    function quote(PoolId poolId, uint32 callbackGas, uint64 fuel, uint256 outputBytes) external view returns (uint256);

    /// @return The stored word of an open request; zero if it is not open in this pool.
    function openRequest(RequestId requestId, PoolId poolId) external view returns (OpenRequest);

    /// @return earned Wei that `payee` earned from `consumer` and has not withdrawn.
    /// @return refunded Wei that was refunded to `consumer` by settling with `payee`, not withdrawn.
    function tab(address consumer, address payee) external view returns (uint128 earned, uint128 refunded);

    /// @return The number of requests ever opened.
    function nonce() external view returns (uint64);

    function paused() external view returns (bool);

    /// @return The EIP-712 digest that a proof of `receipt` is over.
    function receiptDigest(Receipt calldata receipt) external view returns (bytes32);

    /// @return The EIP-712 digest that one proof of all `receipts` is over.
    function batchDigest(Receipt[] calldata receipts) external view returns (bytes32);
}
