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


abstract contract Base is Fixture {
    Delivery d;
    bytes proof;
    address consumer;
    uint256 internal need;

    function _delegated() internal pure virtual returns (bool);

    function setUp() public override {
        super.setUp();
        Honest impl = new Honest(coprocessor, 980_500); // leaves ~ 3,500 after the 63/64 rule of a callee with 1,000,000
        consumer = address(impl);
        if (_delegated()) {
            consumer = makeAddr("eoa7702");
            vm.etch(consumer, abi.encodePacked(hex"ef0100", address(impl)));
        }
        vm.deal(address(this), 100 ether);
        d = _delivery(Asker(consumer).ask{value: 0.1 ether}(PROGRAM, pool, "x", 1_000_000, 1 hours), "o");
        proof = _prove(d);
    }

    function testFuzz_entry(uint256 g) public {
        g = bound(g, 1_040_000, 1_100_000);
        try coprocessor.fulfill{gas: g}(d.requestId, d.fuelUsed, d.outcome, pool, d.output, proof, PAYEE) {
            uint256 e = Honest(payable(consumer)).entry();
            bool silent = e == 0; // reverted within: entry undone
            if (silent) console.log("SILENT FAILURE at gas", g);
            else console.log("gas, entry", g, e);
            assertFalse(silent, "settled, callback failed for want of the gas it was promised");
            assertGe(e, 999_600, "callee entered with less than it asked for");
        } catch {}
    }
}

contract Plain is Base {
    function _delegated() internal pure override returns (bool) { return false; }
}

contract Delegated is Base {
    function _delegated() internal pure override returns (bool) { return true; }
}
