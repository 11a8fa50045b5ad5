// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice Names a program: the hash of its engine, manifest and code.
type ProgramId is bytes32;

/// @param engine What runs the code: 1 = WebAssembly, 2 = JavaScript.
/// @param manifestHash keccak256 of the manifest's bytes as published.
/// @param codeHash keccak256 of the code's bytes.
struct Program {
    uint8 engine;
    bytes32 manifestHash;
    bytes32 codeHash;
}

using ProgramLibrary for Program global;

/// @title ProgramLibrary
/// @notice Computes program ids. Pure; mirrored by `oracle/types/program.py`.
library ProgramLibrary {
    /// @dev Signing and hashing domains are listed in docs/INVARIANTS.md.
    bytes32 internal constant DOMAIN = keccak256("Adyton program v1");

    uint8 internal constant ENGINE_WASM = 1;
    uint8 internal constant ENGINE_JS = 2;

    function id(Program memory self) internal pure returns (ProgramId) {
        return ProgramId.wrap(keccak256(abi.encode(DOMAIN, self.engine, self.manifestHash, self.codeHash)));
    }
}
