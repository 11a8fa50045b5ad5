// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Fixture} from "../Fixture.sol";
import {GasConsumer} from "../consumers/GasConsumer.sol";
import {Vm} from "forge-std/Vm.sol";

import {Delivery} from "contracts/interfaces/ICoprocessor.sol";
import {RequestId} from "contracts/types/Request.sol";

/// @notice C19: whole-transaction gas in the steady state, against the budget of the issue and the committed snapshot.
/// @dev In isolation each outermost call is a transaction of its own, with its 21,000 and calldata. The figures are
/// those of Anvil's transaction receipts, give or take a few zero bytes of calldata.
/// forge-config: default.isolate = true
contract GasTest is Fixture {
    GasConsumer private consumer;
    uint256 private asked;

    function setUp() public override {
        super.setUp();
        consumer = GasConsumer(_deploy("GasConsumer", abi.encode(coprocessor, PROGRAM, pool)));
        // Warm up: after this, every slot that a settlement touches is nonzero, as in use.
        _fulfill(_ask(), abi.encode(keccak256("warm")));
        RequestId requestId = _ask();
        vm.warp(block.timestamp + 2 hours);
        coprocessor.expire(requestId, pool);
    }

    /// @dev C19.
    function test_request_warm_withinBudget() public {
        consumer.ask{value: MAX_FEE}(keccak256("question"));
        _record("request", 1, 64_000);
    }

    /// @dev C19.
    function test_fulfill_warm_withinBudget() public {
        _fulfill(_ask(), abi.encode(keccak256("answer")));
        _record("fulfill", 1, 50_000);
    }

    /// @dev C19.
    function test_fulfillBatch_of10_withinBudget() public {
        _fulfillBatch(10);
        _record("batch_item_10", 10, 17_000);
    }

    /// @dev C19.
    function test_fulfillBatch_of50_withinBudget() public {
        _fulfillBatch(50);
        _record("batch_item_50", 50, 13_500);
    }

    /// @dev C19.
    function test_expire_warm_withinBudget() public {
        RequestId requestId = _ask();
        vm.warp(block.timestamp + 2 hours);
        coprocessor.expire(requestId, pool);
        _record("expire", 1, 45_000);
    }

    function _ask() private returns (RequestId) {
        return consumer.ask{value: MAX_FEE}(keccak256(abi.encode("question", ++asked)));
    }

    function _fulfillBatch(uint256 count) private {
        Delivery[] memory deliveries = new Delivery[](count);
        for (uint256 i; i < count; ++i) {
            deliveries[i] = _delivery(_ask(), abi.encode(keccak256(abi.encode("answer", i))));
        }
        coprocessor.fulfillBatch(pool, deliveries, PAYEE, _prove(deliveries));
    }

    /// @dev Snapshots gas per item after the refund, which is what the transaction's receipt shows.
    function _record(string memory name, uint256 items, uint256 budget) private {
        Vm.Gas memory gas = vm.lastCallGas();
        uint256 used = gas.gasTotalUsed / items;
        emit log_named_uint(name, used);
        emit log_named_int("refund", gas.gasRefunded);
        vm.snapshotValue("gas", name, used);
        assertLe(used, budget, name);
    }
}
