// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Asker, Fixture} from "../Fixture.sol";
import {HostileConsumer, BurningConsumer} from "../consumers/HostileConsumers.sol";
import {Delivery, ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";
import {RequestId} from "contracts/types/Request.sol";
import {console} from "forge-std/console.sol";

contract Sub {
    function burn(uint256 n) external view {
        uint256 g = gasleft();
        while (g - gasleft() < n) {}
    }
}

/// an account that needs nearly all of its callback gas in a sub call; if that runs out it reverts cleanly
contract Honest is HostileConsumer {
    Sub immutable SUB = new Sub();
    uint256 immutable NEED;
    uint256 public entry;
    uint256 public done;

    constructor(ICoprocessor c, uint256 need) HostileConsumer(c) {
        NEED = need;
    }

    function _misbehave() internal override {
        entry = gasleft();
        SUB.burn(NEED);
        done++;
    }
}

contract Gas7702 is Fixture {
    function submitWith(uint256 gas, Delivery calldata d, bytes calldata proof) external {
        coprocessor.fulfill{gas: gas}(d.requestId, d.fuelUsed, d.outcome, pool, d.output, proof, PAYEE);
    }

    function _scan(bool delegated, uint256 need) internal returns (uint256 minEntry, uint256 silentFailures) {
        minEntry = type(uint256).max;
        Honest impl = new Honest(coprocessor, need);
        address consumer = address(impl);
        if (delegated) {
            consumer = makeAddr("eoa7702");
            vm.etch(consumer, abi.encodePacked(hex"ef0100", address(impl)));
        }
        vm.deal(address(this), 100 ether);
        Delivery memory d = _delivery(Asker(consumer).ask{value: 0.1 ether}(PROGRAM, pool, "x", 1_000_000, 1 hours), "o");
        bytes memory proof = _prove(d);
        uint256 snap = vm.snapshotState();
        for (uint256 g = 1_040_000; g < 1_100_000; g += 100) {
            vm.cool(consumer);
            vm.cool(address(impl));
            try this.submitWith(g, d, proof) {
                uint256 e = Honest(payable(consumer)).entry();
                if (Honest(payable(consumer)).done() == 0) silentFailures++;
                if (e != 0 && e < minEntry) minEntry = e;
            } catch {}
            vm.revertToState(snap);
        }
    }

    function test_scan_plain() public {
        (uint256 e, uint256 f) = _scan(false, 500_000);
        console.log("plain: min gas at entry", e, "silent failures", f);
    }

    function test_scan_7702() public {
        (uint256 e, uint256 f) = _scan(true, 500_000);
        console.log("7702: min gas at entry", e, "silent failures", f);
    }

    function test_scan_7702_tight() public {
        for (uint256 need = 979_000; need < 985_000; need += 500) {
            (uint256 e, uint256 f) = _scan(true, need);
            (uint256 e2, uint256 f2) = _scan(false, need);
            console.log(need, f, f2);
            console.log("   ", e, e2);
        }
    }
}
