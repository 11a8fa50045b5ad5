// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {EIP712} from "solady/utils/EIP712.sol";
import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";

import {ExactGasCall} from "./ExactGasCall.sol";
import {TwoStepOwnable} from "./TwoStepOwnable.sol";
import {Delivery, ICoprocessor} from "./interfaces/ICoprocessor.sol";
import {ICoprocessorConsumer} from "./interfaces/ICoprocessorConsumer.sol";
import {IReceiptVerifier} from "./interfaces/IReceiptVerifier.sol";
import {PoolId} from "./types/Pool.sol";
import {ProgramId} from "./types/Program.sol";
import {Outcome, Receipt, ReceiptLibrary} from "./types/Receipt.sol";
import {OpenRequest, OpenRequestLibrary, Request, RequestId, Terms, TermsLibrary} from "./types/Request.sol";
import {Tab} from "./types/Tab.sol";

/// @title Coprocessor
/// @notice The one contract that apps call. Owns requests and escrow.
/// @dev Invariants C1 to C14 are in docs/INVARIANTS.md. Every settling function has one shape: checks, effects,
/// callback, event. Storage is final before the callback runs, so a consumer that re-enters finds nothing half done.
contract Coprocessor is ICoprocessor, EIP712, TwoStepOwnable {
    /// @inheritdoc ICoprocessor
    uint256 public constant MAX_CALLBACK_GAS = 10_000_000;
    /// @inheritdoc ICoprocessor
    uint256 public constant EXPIRY_CALLBACK_GAS = 100_000;
    /// @inheritdoc ICoprocessor
    uint256 public constant MAX_INPUT_BYTES = 64 * 1024;
    /// @inheritdoc ICoprocessor
    uint256 public constant MAX_WAIT = 30 days;

    /// @inheritdoc ICoprocessor
    uint64 public nonce;
    /// @inheritdoc ICoprocessor
    bool public paused;

    /// @dev The pool is part of the key, so settling needs no preimage to know that the request named it.
    mapping(RequestId => mapping(PoolId => OpenRequest)) private _open;
    /// @dev By consumer, then payee.
    mapping(address => mapping(address => Tab)) private _tabs;

    constructor(address owner_) {
        _initializeOwner(owner_);
    }

    /* ------------------------------------------------ requests ------------------------------------------------ */

    /// @inheritdoc ICoprocessor
    function request(ProgramId programId, PoolId poolId, bytes calldata input, uint32 callbackGas, uint64 deadline)
        external
        payable
        returns (RequestId requestId)
    {
        _checkRequest(poolId, input.length, callbackGas, deadline);

        Terms terms = TermsLibrary.pack(_takeNonce(), block.timestamp, deadline, callbackGas, msg.value / 1 gwei);
        requestId = Request({
            consumer: msg.sender, programId: programId, poolId: poolId, inputHash: keccak256(input), terms: terms
        }).id(block.chainid, address(this));
        _open[requestId][poolId] = terms.open(msg.sender);
        emit RequestCreated(requestId, poolId, msg.sender, programId, terms, input);
    }

    /* ------------------------------------------------ settling ------------------------------------------------ */

    /// @inheritdoc ICoprocessor
    function fulfill(PoolId poolId, address payee, Delivery calldata delivery, bytes calldata proof) external {
        // 1. The receipt is complete.
        require(payee != address(0), PayeeMissing());
        bytes32 receiptHash = _receiptHash(delivery, payee);

        // 2. The request is open in this pool.
        OpenRequest open = _open[delivery.requestId][poolId];
        require(open.isOpen(), RequestNotOpen(delivery.requestId, poolId));

        // 3. In time.
        require(block.timestamp <= open.deadline(), DeadlinePassed(open.deadline(), block.timestamp));

        // 4. Proven.
        _checkProof(poolId, receiptHash, proof);

        _settle(poolId, payee, delivery, open);
    }

    /// @inheritdoc ICoprocessor
    function fulfillBatch(PoolId poolId, address payee, Delivery[] calldata deliveries, bytes calldata proof) external {
        // 1. The receipts are complete.
        require(payee != address(0), PayeeMissing());
        uint256 count = deliveries.length;
        require(count != 0, BatchEmpty());
        bytes32[] memory receiptHashes = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            receiptHashes[i] = _receiptHash(deliveries[i], payee);
        }

        // 4. Proven, all by one proof. Nothing of the request is needed for it, so it comes first.
        _checkProof(poolId, ReceiptLibrary.batchStructHash(receiptHashes), proof);

        for (uint256 i; i < count; ++i) {
            Delivery calldata delivery = deliveries[i];
            // Read afresh for each item: an earlier item, or its callback, may have settled this one.
            OpenRequest open = _open[delivery.requestId][poolId];
            if (!open.isOpen()) {
                emit DeliverySkipped(delivery.requestId, RequestNotOpen.selector); // 2.
            } else if (block.timestamp > open.deadline()) {
                emit DeliverySkipped(delivery.requestId, DeadlinePassed.selector); // 3.
            } else {
                _settle(poolId, payee, delivery, open);
            }
        }
    }

    /// @inheritdoc ICoprocessor
    function expire(RequestId requestId, PoolId poolId) external {
        OpenRequest open = _open[requestId][poolId];
        require(open.isOpen(), RequestNotOpen(requestId, poolId));
        require(block.timestamp > open.deadline(), DeadlineNotPassed(open.deadline(), block.timestamp));

        address consumer = open.consumer();
        _open[requestId][poolId] = OpenRequestLibrary.NOT_OPEN;
        _credit(consumer, address(0), 0, open.maxFee());

        bool called = open.callbackGas() != 0
            && ExactGasCall.tryCall(
                consumer, EXPIRY_CALLBACK_GAS, abi.encodeCall(ICoprocessorConsumer.onExpired, (requestId))
            );
        emit RequestExpired(requestId, called);
    }

    /* ------------------------------------------------- money -------------------------------------------------- */

    /// @inheritdoc ICoprocessor
    function withdrawEarnings(address[] calldata consumers, address payable to) external returns (uint256 amount) {
        for (uint256 i; i < consumers.length; ++i) {
            Tab tab_ = _tabs[consumers[i]][msg.sender];
            amount += tab_.earned();
            _tabs[consumers[i]][msg.sender] = tab_.withoutEarned();
        }
        emit EarningsWithdrawn(msg.sender, to, amount);
        _send(to, amount);
    }

    /// @inheritdoc ICoprocessor
    function withdrawRefunds(address[] calldata payees, address payable to) external returns (uint256 amount) {
        for (uint256 i; i < payees.length; ++i) {
            Tab tab_ = _tabs[msg.sender][payees[i]];
            amount += tab_.refunded();
            _tabs[msg.sender][payees[i]] = tab_.withoutRefunded();
        }
        emit RefundsWithdrawn(msg.sender, to, amount);
        _send(to, amount);
    }

    /* ------------------------------------------------- owner -------------------------------------------------- */

    /// @inheritdoc ICoprocessor
    function pause() external onlyOwner {
        paused = true;
        emit Paused();
    }

    /// @inheritdoc ICoprocessor
    function unpause() external onlyOwner {
        paused = false;
        emit Unpaused();
    }

    /* ------------------------------------------------- views -------------------------------------------------- */

    /// @inheritdoc ICoprocessor
    function quote(PoolId poolId, uint32 callbackGas, uint64 fuel) external pure returns (uint256) {
        return (poolId.fee(callbackGas, fuel) + 1 gwei - 1) / 1 gwei * 1 gwei;
    }

    /// @inheritdoc ICoprocessor
    function openRequest(RequestId requestId, PoolId poolId) external view returns (OpenRequest) {
        return _open[requestId][poolId];
    }

    /// @inheritdoc ICoprocessor
    function tab(address consumer, address payee) external view returns (Tab) {
        return _tabs[consumer][payee];
    }

    /// @inheritdoc ICoprocessor
    function receiptDigest(Receipt calldata receipt) external view returns (bytes32) {
        Receipt memory copy = receipt;
        return _hashTypedData(copy.structHash());
    }

    /// @inheritdoc ICoprocessor
    function batchDigest(Receipt[] calldata receipts) external view returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](receipts.length);
        for (uint256 i; i < receipts.length; ++i) {
            Receipt memory copy = receipts[i];
            hashes[i] = copy.structHash();
        }
        return _hashTypedData(ReceiptLibrary.batchStructHash(hashes));
    }

    /* ------------------------------------------------ internal ------------------------------------------------ */

    function _checkRequest(PoolId poolId, uint256 inputBytes, uint256 callbackGas, uint256 deadline) private view {
        // 1. Open for business.
        require(!paused, RequestsPaused());

        // 2. The fee fits its field and pays at least for a receipt that used no fuel.
        require(msg.value % 1 gwei == 0, FeeNotWholeGwei(msg.value));
        uint256 largest = uint256(type(uint40).max) * 1 gwei;
        require(msg.value <= largest, FeeTooLarge(largest, msg.value));
        uint256 floor = poolId.fee(callbackGas, 0);
        require(msg.value >= floor, FeeTooSmall(floor, msg.value));

        // 3. The deadline lies ahead, but not so far that it would not fit its field.
        uint256 latest = block.timestamp + MAX_WAIT;
        if (latest > type(uint32).max) latest = type(uint32).max;
        require(deadline > block.timestamp, DeadlineTooEarly(block.timestamp + 1, deadline));
        require(deadline <= latest, DeadlineTooLate(latest, deadline));

        // 4. Settling will fit into one transaction.
        require(callbackGas <= MAX_CALLBACK_GAS, CallbackGasTooLarge(MAX_CALLBACK_GAS, callbackGas));
        require(inputBytes <= MAX_INPUT_BYTES, InputTooLarge(MAX_INPUT_BYTES, inputBytes));
    }

    function _takeNonce() private returns (uint64) {
        unchecked {
            return nonce++;
        }
    }

    function _receiptHash(Delivery calldata delivery, address payee) private pure returns (bytes32) {
        require(delivery.outcome != Outcome.None, OutcomeMissing(delivery.requestId));
        return Receipt({
            requestId: delivery.requestId,
            outcome: delivery.outcome,
            outputHash: keccak256(delivery.output),
            fuelUsed: delivery.fuelUsed,
            payee: payee
        }).structHash();
    }

    function _checkProof(PoolId poolId, bytes32 structHash, bytes calldata proof) private view {
        bytes32 digest = _hashTypedData(structHash);
        // INVARIANT: only what the pool's own verifier accepts, for this chain and this contract, is delivered.
        require(IReceiptVerifier(poolId.verifier()).verify(digest, proof), ProofRejected(digest));
    }

    /// @dev The caller has checked steps 1 to 4; `open` was read after anything that could have changed it.
    function _settle(PoolId poolId, address payee, Delivery calldata delivery, OpenRequest open) private {
        uint256 maxFee = open.maxFee();
        uint256 callbackGas = open.callbackGas();
        uint256 fee = poolId.fee(callbackGas, delivery.fuelUsed);
        if (fee > maxFee) fee = maxFee;

        // INVARIANT: effects come before the callback, so no request settles twice.
        address consumer = open.consumer();
        _open[delivery.requestId][poolId] = OpenRequestLibrary.NOT_OPEN;
        _credit(consumer, payee, fee, maxFee - fee);

        // 5. The callback gets exactly its gas, or all of this is undone.
        bool called = callbackGas != 0
            && ExactGasCall.tryCall(
                consumer,
                callbackGas,
                abi.encodeCall(ICoprocessorConsumer.onReceipt, (delivery.requestId, delivery.outcome, delivery.output))
            );
        emit RequestSettled(delivery.requestId, payee, delivery.outcome, called, delivery.fuelUsed, uint128(fee));
    }

    /// @dev The only place where a tab grows. Earned and refunded always add up to the escrow of the request.
    function _credit(address consumer, address payee, uint256 earned, uint256 refunded) private {
        _tabs[consumer][payee] = _tabs[consumer][payee].credit(earned, refunded);
    }

    function _send(address payable to, uint256 amount) private {
        require(to != address(0), RecipientMissing());
        SafeTransferLib.safeTransferETH(to, amount);
    }

    function _domainNameAndVersion() internal pure override returns (string memory name, string memory version) {
        return ("Adyton", "1");
    }
}
