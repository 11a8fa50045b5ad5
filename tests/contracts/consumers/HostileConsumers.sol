// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {ICoprocessor} from "contracts/interfaces/ICoprocessor.sol";

import {HostileConsumer} from "./HostileConsumer.sol";

/// @notice Reverts whenever it is called back.
contract RevertingConsumer is HostileConsumer {
    constructor(ICoprocessor coprocessor) HostileConsumer(coprocessor) {}

    function _misbehave() internal pure override {
        revert("no");
    }
}

/// @notice Uses up whatever gas it gets.
contract BurningConsumer is HostileConsumer {
    constructor(ICoprocessor coprocessor) HostileConsumer(coprocessor) {}

    function _misbehave() internal pure override {
        while (true) {}
    }
}

/// @notice Returns, or reverts with, a megabyte. If that were copied, the submitter would pay for it.
contract BombConsumer is HostileConsumer {
    bool private immutable REVERTS;

    constructor(ICoprocessor coprocessor, bool reverts) HostileConsumer(coprocessor) {
        REVERTS = reverts;
    }

    function _misbehave() internal view override {
        bool reverts = REVERTS;
        assembly {
            if reverts { revert(0, 1000000) }
            return(0, 1000000)
        }
    }
}

/// @notice Runs prepared calls of the coprocessor when called back, and notes which of them went through.
contract ReenteringConsumer is HostileConsumer {
    bytes[] private _calls;
    bool[] public succeeded;

    constructor(ICoprocessor coprocessor) HostileConsumer(coprocessor) {}

    function prepare(bytes calldata data) external {
        _calls.push(data);
    }

    function attempts() external view returns (uint256) {
        return succeeded.length;
    }

    function _misbehave() internal override {
        for (uint256 i; i < _calls.length; ++i) {
            (bool ok,) = address(COPROCESSOR).call(_calls[i]);
            succeeded.push(ok);
        }
    }
}

/// @notice Takes no money.
contract PennilessConsumer is HostileConsumer {
    constructor(ICoprocessor coprocessor) HostileConsumer(coprocessor) {}

    receive() external payable override {
        revert("no money");
    }

    function withdraw(address[] calldata payees, address payable to) external returns (uint256) {
        return COPROCESSOR.withdrawRefunds(payees, to);
    }

    function _misbehave() internal pure override {}
}
