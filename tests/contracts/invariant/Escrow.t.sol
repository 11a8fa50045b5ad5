// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Handler} from "./Handler.sol";
import {Test} from "forge-std/Test.sol";

import {ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";

/// @notice What holds after any sequence of calls by anyone.
contract EscrowInvariantTest is Test {
    Handler private handler;
    ICoprocessor private coprocessor;

    function setUp() public {
        handler = new Handler();
        coprocessor = ICoprocessor(handler.coprocessorAddress());
        targetContract(address(handler));
        bytes4[] memory selectors = new bytes4[](10);
        selectors[0] = Handler.request.selector;
        selectors[1] = Handler.request.selector;
        selectors[2] = Handler.fulfill.selector;
        selectors[3] = Handler.fulfillBatch.selector;
        selectors[4] = Handler.expire.selector;
        selectors[5] = Handler.withdrawEarnings.selector;
        selectors[6] = Handler.withdrawRefunds.selector;
        selectors[7] = Handler.pass.selector;
        selectors[8] = Handler.pause.selector;
        selectors[9] = Handler.forge.selector;
        targetSelector(FuzzSelector(address(handler), selectors));
    }

    /// @dev C16: the balance is what is open plus what can be withdrawn.
    function invariant_balance_isOpenEscrowPlusTabs() public view {
        (uint256 earned, uint256 refunded) = handler.tabs();
        uint256 open = handler.escrowed() - handler.closedEscrow();
        assertEq(address(coprocessor).balance, open + earned + refunded);
    }

    /// @dev C16: what was earned and refunded, withdrawn or not, is what was escrowed for closed requests.
    function invariant_earnedAndRefunded_isClosedEscrow() public view {
        (uint256 earned, uint256 refunded) = handler.tabs();
        assertEq(earned + refunded + handler.withdrawn(), handler.closedEscrow());
    }

    /// @dev C6, C7, C8, C15: none closed twice, late, early or unproven.
    function invariant_requests_closeOnceAndRightly() public view {
        assertEq(handler.wrongs(), 0);
        assertLe(handler.closings(), handler.count());
        for (uint256 i; i < handler.count(); ++i) {
            (,,,, bool closed) = handler.asked(i);
            assertEq(handler.isOpen(i), !closed);
        }
    }

    /// @dev C2: the nonce counts requests and never falls.
    function invariant_nonce_countsRequests() public view {
        assertEq(coprocessor.nonce(), handler.count());
    }
}
