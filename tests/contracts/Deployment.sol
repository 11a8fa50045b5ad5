// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Test} from "forge-std/Test.sol";

/// @notice Deploys what `scripts/build_contracts.py` compiled: the very bytecode that users get.
/// @dev Tests know the contracts by their interfaces and never compile them, which would take forge minutes, and give
/// other bytecode whenever it compiles a part of them only. Bytecode of other sources than are here is refused.
abstract contract Deployment is Test {
    string private constant SOURCES = "build/sources.json";
    string private constant REMEDY = ": run `.venv/bin/python scripts/build_contracts.py`";

    bool private areSourcesChecked;
    /// @dev By name. Reading JSON takes long.
    mapping(string => bytes) private creationCode;

    /// @dev Deploys the contract `name`, constructed with `arguments`, which are ABI-encoded. Its account has no money.
    function _deploy(string memory name, bytes memory arguments) internal returns (address) {
        return _deploy(name, arguments, 0);
    }

    function _deploy(string memory name, bytes memory arguments, uint256 value) internal returns (address deployed) {
        if (!areSourcesChecked) _checkSources();
        if (creationCode[name].length == 0) creationCode[name] = _readCreationCode(name);
        bytes memory code = bytes.concat(creationCode[name], arguments);
        assembly ("memory-safe") {
            deployed := create(value, add(code, 0x20), mload(code))
            if iszero(deployed) {
                let pointer := mload(0x40)
                returndatacopy(pointer, 0, returndatasize())
                revert(pointer, returndatasize())
            }
        }
        vm.label(deployed, name);
    }

    function _readCreationCode(string memory name) private view returns (bytes memory) {
        string memory path = string.concat("oracle/chain/artifacts/", name, ".json");
        if (!vm.isFile(path)) path = string.concat("build/artifacts/", name, ".json");
        require(vm.isFile(path), string.concat("no artifact of ", name, REMEDY));
        return vm.parseJsonBytes(vm.readFile(path), ".bytecode");
    }

    /// @dev Sources and settings are byte by byte those that were compiled.
    function _checkSources() private {
        require(vm.isFile(SOURCES), string.concat("the contracts are not compiled", REMEDY));
        string memory json = vm.readFile(SOURCES);
        string[] memory paths = vm.parseJsonStringArray(json, ".paths");
        bytes32[] memory hashes = vm.parseJsonBytes32Array(json, ".sha256");
        for (uint256 i; i < paths.length; ++i) {
            bool isSame = vm.isFile(paths[i]) && sha256(bytes(vm.readFile(paths[i]))) == hashes[i];
            require(isSame, string.concat("the artifacts are not of this ", paths[i], REMEDY));
        }
        areSourcesChecked = true;
    }
}
