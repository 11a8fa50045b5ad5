// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {EIP712} from "solady/utils/EIP712.sol";
import {EfficientHashLib} from "solady/utils/EfficientHashLib.sol";
import {SafeTransferLib} from "solady/utils/SafeTransferLib.sol";

import {ConsumerCall} from "./ConsumerCall.sol";
import {EnclaveRegistry} from "./EnclaveRegistry.sol";
import {IAttestationVerifier} from "./interfaces/IAttestationVerifier.sol";
import {Delivery, ICoprocessor} from "./interfaces/ICoprocessor.sol";
import {IReceiptVerifier} from "./interfaces/IReceiptVerifier.sol";
import {PoolId, PoolLibrary} from "./types/Pool.sol";
import {ProgramId} from "./types/Program.sol";
import {Outcome, Receipt, ReceiptLibrary} from "./types/Receipt.sol";
import {OpenRequest, OpenRequestLibrary, RequestId, RequestLibrary, Terms, TermsLibrary} from "./types/Request.sol";
import {SettlementLibrary} from "./types/Settlement.sol";
import {Tab} from "./types/Tab.sol";

/// @title Coprocessor
/// @notice The one contract that apps call. Owns requests and escrow.
/// @dev Invariants C1 to C19 are in docs/INVARIANTS.md. Every settling function has one shape: checks, effects,
/// callback, event. Storage is final before the callback runs, so a consumer that re-enters finds nothing half done.
contract Coprocessor is ICoprocessor, EnclaveRegistry, EIP712 {
    /// @dev Structs of one word: a storage pointer to one hashes its mapping keys once for read and write.
    struct Slot {
        OpenRequest open;
    }

    struct Account {
        Tab tab;
    }

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
    mapping(RequestId => mapping(PoolId => Slot)) private _slots;
    /// @dev By consumer, then payee.
    mapping(address => mapping(address => Account)) private _accounts;

    constructor(address owner_, IAttestationVerifier verifier_) EnclaveRegistry(owner_, verifier_) {}

    /* ------------------------------------------------ requests ------------------------------------------------ */

    /// @inheritdoc ICoprocessor
    function request(ProgramId programId, PoolId poolId, uint64 deadline, uint32 callbackGas, bytes calldata input)
        external
        payable
        returns (RequestId requestId)
    {
        _checkRequest(poolId, input.length, callbackGas, deadline);

        Terms terms;
        unchecked {
            terms = TermsLibrary.pack(nonce++, block.timestamp, deadline, callbackGas, msg.value / 1 gwei);
        }
        bytes32 inputHash = EfficientHashLib.hashCalldata(input);
        requestId = RequestLibrary.id(msg.sender, programId, poolId, inputHash, terms, block.chainid, address(this));
        _slots[requestId][poolId].open = terms.open(msg.sender);
        emit RequestCreated(requestId, poolId, msg.sender, programId, terms, input);
    }

    /* ------------------------------------------------ settling ------------------------------------------------ */

    /// @inheritdoc ICoprocessor
    function fulfill(
        RequestId requestId,
        Outcome outcome,
        bytes32 context,
        PoolId poolId,
        uint64 fuelUsed,
        address payee,
        bytes calldata output,
        bytes calldata proof
    ) external {
        // 1. The receipt is complete.
        require(payee != address(0), PayeeMissing());
        bytes32 receiptHash = _receiptHash(requestId, fuelUsed, outcome, context, output, payee);

        // 2. The request is open in this pool.
        Slot storage slot = _slots[requestId][poolId];
        OpenRequest open = slot.open;
        if (!open.isOpen()) revert RequestNotOpen(requestId, poolId);

        // 3. In time.
        uint256 deadline = open.deadline();
        require(block.timestamp <= deadline, DeadlinePassed(deadline, block.timestamp));

        // 4. Proven.
        _checkProof(poolId, receiptHash, proof);

        _settle(poolId, payee, requestId, fuelUsed, outcome, output, slot, open);
    }

    /// @inheritdoc ICoprocessor
    function fulfillBatch(PoolId poolId, Delivery[] calldata deliveries, address payee, bytes calldata proof) external {
        // 1. The receipts are complete.
        require(payee != address(0), PayeeMissing());
        uint256 count = deliveries.length;
        require(count != 0, BatchEmpty());
        bytes32[] memory receiptHashes = new bytes32[](count);
        for (uint256 i; i < count; ++i) {
            (RequestId requestId, uint64 fuelUsed, Outcome outcome, bytes calldata output) = _read(deliveries[i]);
            receiptHashes[i] = _receiptHash(requestId, fuelUsed, outcome, deliveries[i].context, output, payee);
        }

        // 4. Proven, all by one proof. Nothing of the requests is needed for it, so it comes first.
        _checkProof(poolId, ReceiptLibrary.batchStructHash(receiptHashes), proof);

        for (uint256 i; i < count; ++i) {
            (RequestId requestId, uint64 fuelUsed, Outcome outcome, bytes calldata output) = _read(deliveries[i]);
            // Read afresh for each item: an earlier item, or its callback, may have settled this one.
            Slot storage slot = _slots[requestId][poolId];
            OpenRequest open = slot.open;
            if (!open.isOpen()) {
                emit DeliverySkipped(requestId, RequestNotOpen.selector); // 2.
            } else if (block.timestamp > open.deadline()) {
                emit DeliverySkipped(requestId, DeadlinePassed.selector); // 3.
            } else {
                _settle(poolId, payee, requestId, fuelUsed, outcome, output, slot, open);
            }
        }
    }

    /// @inheritdoc ICoprocessor
    function expire(RequestId requestId, PoolId poolId) external {
        Slot storage slot = _slots[requestId][poolId];
        OpenRequest open = slot.open;
        require(open.isOpen(), RequestNotOpen(requestId, poolId));
        require(block.timestamp > open.deadline(), DeadlineNotPassed(open.deadline(), block.timestamp));

        slot.open = OpenRequestLibrary.NOT_OPEN;
        _credit(open.consumer(), address(0), 0, open.maxFee());

        bool called = open.callbackGas() != 0 && ConsumerCall.onExpired(open.consumer(), EXPIRY_CALLBACK_GAS, requestId);
        emit RequestExpired(requestId, called);
    }

    /* ------------------------------------------------- money -------------------------------------------------- */

    /// @inheritdoc ICoprocessor
    function withdrawEarnings(address[] calldata consumers, address payable to) external returns (uint256 amount) {
        for (uint256 i; i < consumers.length; ++i) {
            Account storage account = _accounts[consumers[i]][msg.sender];
            amount += account.tab.earned();
            account.tab = account.tab.withoutEarned();
        }
        emit EarningsWithdrawn(msg.sender, to, amount);
        _send(to, amount);
    }

    /// @inheritdoc ICoprocessor
    function withdrawRefunds(address[] calldata payees, address payable to) external returns (uint256 amount) {
        for (uint256 i; i < payees.length; ++i) {
            Account storage account = _accounts[msg.sender][payees[i]];
            amount += account.tab.refunded();
            account.tab = account.tab.withoutRefunded();
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
    function quote(PoolId poolId, uint32 callbackGas, uint64 fuel, uint256 outputBytes)
        external
        pure
        returns (uint256)
    {
        uint256 gas = PoolLibrary.pricedGas(callbackGas, outputBytes);
        return (poolId.fee(gas, fuel) + 1 gwei - 1) / 1 gwei * 1 gwei;
    }

    /// @inheritdoc ICoprocessor
    function openRequest(RequestId requestId, PoolId poolId) external view returns (OpenRequest) {
        return _slots[requestId][poolId].open;
    }

    /// @inheritdoc ICoprocessor
    function tab(address consumer, address payee) external view returns (uint128 earned, uint128 refunded) {
        Tab tab_ = _accounts[consumer][payee].tab;
        return (tab_.earned(), tab_.refunded());
    }

    /// @inheritdoc ICoprocessor
    function receiptDigest(Receipt calldata receipt) external view returns (bytes32) {
        return _hashTypedData(receipt.structHash());
    }

    /// @inheritdoc ICoprocessor
    function batchDigest(Receipt[] calldata receipts) external view returns (bytes32) {
        bytes32[] memory hashes = new bytes32[](receipts.length);
        for (uint256 i; i < receipts.length; ++i) {
            hashes[i] = receipts[i].structHash();
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

    /// @dev Each field is read, and checked to be well-formed, once.
    function _read(Delivery calldata delivery)
        private
        pure
        returns (RequestId, uint64 fuelUsed, Outcome outcome, bytes calldata output)
    {
        return (delivery.requestId, delivery.fuelUsed, delivery.outcome, delivery.output);
    }

    function _receiptHash(
        RequestId requestId,
        uint64 fuelUsed,
        Outcome outcome,
        bytes32 context,
        bytes calldata output,
        address payee
    ) private pure returns (bytes32) {
        require(outcome != Outcome.None, OutcomeMissing(requestId));
        bytes32 outputHash = EfficientHashLib.hashCalldata(output);
        return ReceiptLibrary.structHash(requestId, outcome, outputHash, fuelUsed, payee, context);
    }

    function _checkProof(PoolId poolId, bytes32 structHash, bytes calldata proof) private view {
        bytes32 digest = _hashTypedData(structHash);
        address verifier = poolId.verifier();
        // INVARIANT: only what the pool's own verifier accepts, for this chain and this contract, is delivered.
        if (verifier == address(this)) {
            _checkSignature(digest, proof);
        } else {
            require(IReceiptVerifier(verifier).verify(digest, proof), ProofRejected(digest));
        }
    }

    /// @dev The caller has checked steps 1 to 4; `open` was read after anything that could have changed it.
    function _settle(
        PoolId poolId,
        address payee,
        RequestId requestId,
        uint64 fuelUsed,
        Outcome outcome,
        bytes calldata output,
        Slot storage slot,
        OpenRequest open
    ) private {
        uint256 callbackGas = open.callbackGas();
        uint256 maxFee = open.maxFee();
        uint256 fee = poolId.fee(PoolLibrary.pricedGas(callbackGas, output.length), fuelUsed);
        if (fee > maxFee) fee = maxFee;

        // INVARIANT: effects come before the callback, so no request settles twice.
        slot.open = OpenRequestLibrary.NOT_OPEN;
        unchecked {
            _credit(open.consumer(), payee, fee, maxFee - fee);
        }

        // 5. The callback gets exactly its gas, or all of this is undone.
        bool called =
            callbackGas != 0 && ConsumerCall.onReceipt(open.consumer(), callbackGas, requestId, outcome, output);
        emit RequestSettled(requestId, payee, SettlementLibrary.pack(fee, fuelUsed, outcome, called));
    }

    /// @dev The only place where a tab grows. Earned and refunded always add up to the escrow of the request.
    function _credit(address consumer, address payee, uint256 earned, uint256 refunded) private {
        Account storage account = _accounts[consumer][payee];
        account.tab = account.tab.credit(earned, refunded);
    }

    function _send(address payable to, uint256 amount) private {
        require(to != address(0), RecipientMissing());
        SafeTransferLib.safeTransferETH(to, amount);
    }

    function _domainNameAndVersion() internal pure override returns (string memory name, string memory version) {
        return ("Adyton", "1");
    }
}
