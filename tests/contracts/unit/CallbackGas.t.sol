// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Fixture} from "../Fixture.sol";
import {GasMeter} from "../consumers/GasMeter.sol";

import {Delivery} from "contracts/interfaces/ICoprocessor.sol";
import {RequestId} from "contracts/types/Request.sol";

/// @notice C13 at its edge: with the least gas that settles at all, the callback still gets what was asked for.
/// @dev Isolated, so that accounts are as cold as in a transaction of its own.
/// forge-config: default.isolate = true
contract CallbackGasTest is Fixture {
    uint256 private constant ENTRY_COST = 600; // dispatch and decoding, before the consumer reads its gas

    function submitWith(uint256 gas, Delivery calldata d, bytes calldata proof) external {
        coprocessor.fulfill{gas: gas}(d.requestId, d.outcome, d.context, pool, d.fuelUsed, PAYEE, d.output, proof);
    }

    /// @dev C13.
    function testFuzz_fulfill_leastGasThatSettles_callbackGetsAll(uint32 callbackGas) public {
        callbackGas = uint32(bound(callbackGas, 50_000, 1_000_000));
        _checkLeast(address(_deployGasMeter()), callbackGas);
    }

    /// @dev C13: also where the consumer is an account whose code is another's (EIP-7702), which costs a second cold
    /// access on the way in.
    function testFuzz_fulfill_leastGasThatSettlesDelegatedAccount_callbackGetsAll(uint32 callbackGas) public {
        callbackGas = uint32(bound(callbackGas, 50_000, 1_000_000));
        uint256 key = uint256(keccak256("delegating account"));
        vm.signAndAttachDelegation(address(_deployGasMeter()), key);
        _checkLeast(vm.addr(key), callbackGas);
    }

    function _checkLeast(address consumer, uint32 callbackGas) private {
        vm.deal(consumer, 1 ether);
        vm.prank(consumer);
        RequestId requestId =
            coprocessor.request{value: 1 ether}(PROGRAM, pool, uint64(block.timestamp + 1 hours), callbackGas, "");
        Delivery memory delivery = _delivery(requestId, "");
        bytes memory proof = _prove(delivery);

        uint256 tooLittle = callbackGas;
        uint256 enough = callbackGas + 200_000;
        uint256 entry;
        while (enough - tooLittle > 1) {
            uint256 middle = (tooLittle + enough) / 2;
            uint256 before = vm.snapshotState();
            try this.submitWith(middle, delivery, proof) {
                enough = middle;
                entry = GasMeter(payable(consumer)).gasAtEntry();
            } catch {
                tooLittle = middle;
            }
            vm.revertToState(before);
        }
        assertLe(entry, callbackGas);
        assertGe(entry + ENTRY_COST, callbackGas);
    }
}
