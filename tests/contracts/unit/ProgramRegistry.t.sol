// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Deployment} from "../Deployment.sol";
import {SSTORE2} from "solady/utils/SSTORE2.sol";

import {IProgramRegistry} from "contracts/interfaces/IProgramRegistry.sol";
import {Program, ProgramId} from "contracts/types/Program.sol";

/// @notice `ProgramRegistry`: what is published hashes to its name, and stays.
contract ProgramRegistryTest is Deployment {
    IProgramRegistry private registry;
    bytes private constant MANIFEST = '{"version":1}';
    bytes private constant CODE = "function main(input) { return input }";

    function setUp() public {
        registry = IProgramRegistry(_deploy("ProgramRegistry", ""));
    }

    function _chunks(bytes memory code, uint256 size) private returns (address[] memory chunks) {
        chunks = new address[]((code.length + size - 1) / size);
        for (uint256 i; i < chunks.length; ++i) {
            uint256 start = i * size;
            uint256 length = code.length - start < size ? code.length - start : size;
            bytes memory chunk = new bytes(length);
            for (uint256 j; j < length; ++j) {
                chunk[j] = code[start + j];
            }
            chunks[i] = registry.store(chunk);
        }
    }

    /// @dev PR1: the id is the hash of engine, manifest and code.
    function testFuzz_publish_byHashAlone_readBack(uint8 engine, bytes memory manifest, bytes32 codeHash) public {
        engine = uint8(bound(engine, 1, 2));
        vm.assume(manifest.length > 0 && manifest.length <= 4_096);
        ProgramId expected = ProgramId.wrap(
            keccak256(abi.encode(keccak256("Adyton program v1"), engine, keccak256(manifest), codeHash))
        );
        address[] memory none;
        vm.expectEmit(address(registry));
        emit IProgramRegistry.ProgramPublished(expected, address(this), engine, keccak256(manifest), codeHash, none);
        ProgramId actual = registry.publish(engine, manifest, codeHash, none);

        assertEq(ProgramId.unwrap(actual), ProgramId.unwrap(expected));
        assertTrue(registry.isPublished(actual));
        Program memory program = registry.program(actual);
        assertEq(program.engine, engine);
        assertEq(program.manifestHash, keccak256(manifest));
        assertEq(program.codeHash, codeHash);
        assertEq(registry.manifest(actual), manifest);
        vm.expectRevert(abi.encodeWithSelector(IProgramRegistry.CodeNotOnChain.selector, actual));
        registry.code(actual);
    }

    /// @dev PR2: code on chain comes back byte for byte, however it was cut.
    function testFuzz_publish_withChunks_codeReadBack(bytes memory code, uint256 size) public {
        vm.assume(code.length > 0);
        size = bound(size, 1, code.length);
        size = size < code.length / 8 + 1 ? code.length / 8 + 1 : size;
        ProgramId id = registry.publish(2, MANIFEST, keccak256(code), _chunks(code, size));
        assertEq(registry.code(id), code);
        assertEq(registry.manifest(id), MANIFEST);
    }

    /// @dev PR2: a program of several full chunks is published within one transaction.
    function test_publish_severalFullChunks_codeReadBack() public {
        address[] memory chunks = new address[](20);
        bytes memory whole;
        for (uint256 i; i < chunks.length; ++i) {
            bytes memory chunk = new bytes(registry.MAX_CHUNK_BYTES());
            chunk[0] = bytes1(uint8(i));
            chunks[i] = registry.store(chunk);
            whole = bytes.concat(whole, chunk);
        }
        ProgramId id = registry.publish{gas: 16_000_000}(1, MANIFEST, keccak256(whole), chunks);
        assertEq(keccak256(registry.code(id)), keccak256(whole));
    }

    /// @dev PR2.
    function testFuzz_publish_chunksOfOtherCode_reverts(bytes32 codeHash) public {
        vm.assume(codeHash != keccak256(CODE));
        address[] memory chunks = _chunks(CODE, CODE.length);
        vm.expectRevert(abi.encodeWithSelector(IProgramRegistry.CodeHashMismatch.selector, codeHash, keccak256(CODE)));
        registry.publish(2, MANIFEST, codeHash, chunks);
    }

    /// @dev PR2: order counts.
    function test_publish_chunksSwapped_reverts() public {
        address[] memory chunks = _chunks(CODE, 20);
        (chunks[0], chunks[1]) = (chunks[1], chunks[0]);
        vm.expectPartialRevert(IProgramRegistry.CodeHashMismatch.selector);
        registry.publish(2, MANIFEST, keccak256(CODE), chunks);
    }

    /// @dev PR3: only what the registry stored counts; another's contract could be made to vanish.
    function test_publish_foreignChunk_reverts() public {
        address[] memory chunks = new address[](1);
        chunks[0] = SSTORE2.write(CODE); // the same bytes, but not at the registry's address for them
        vm.expectRevert(abi.encodeWithSelector(IProgramRegistry.ChunkNotStored.selector, chunks[0]));
        registry.publish(2, MANIFEST, keccak256(CODE), chunks);
    }

    /// @dev PR3.
    function testFuzz_publish_chunkWithoutCode_reverts(address pointer) public {
        vm.assume(pointer.code.length == 0);
        address[] memory chunks = new address[](1);
        chunks[0] = pointer;
        vm.expectRevert(abi.encodeWithSelector(IProgramRegistry.ChunkNotStored.selector, pointer));
        registry.publish(2, MANIFEST, keccak256(CODE), chunks);
    }

    /// @dev PR4: publishing again changes nothing.
    function test_publish_again_changesNothing() public {
        ProgramId id = registry.publish(2, MANIFEST, keccak256(CODE), _chunks(CODE, CODE.length));
        vm.recordLogs();
        ProgramId again = registry.publish(2, MANIFEST, keccak256(CODE), _chunks(CODE, 10));
        assertEq(ProgramId.unwrap(again), ProgramId.unwrap(id));
        assertEq(vm.getRecordedLogs().length, 0);
        assertEq(registry.code(id), CODE);
    }

    /// @dev PR4: nobody can keep the code off the chain by publishing the hash first.
    function test_publish_codeAfterHash_addsCode() public {
        address[] memory none;
        vm.prank(makeAddr("squatter"));
        ProgramId id = registry.publish(2, MANIFEST, keccak256(CODE), none);
        registry.publish(2, MANIFEST, keccak256(CODE), _chunks(CODE, CODE.length));
        assertEq(registry.code(id), CODE);
        assertEq(registry.manifest(id), MANIFEST);
    }

    /// @dev PR5: the address of a chunk follows from its bytes; storing it again is free of effect.
    function testFuzz_store_twice_samePointer(bytes calldata chunk) public {
        vm.assume(chunk.length > 0);
        address pointer = registry.store(chunk);
        vm.prank(makeAddr("another"));
        assertEq(registry.store(chunk), pointer);
        assertEq(SSTORE2.read(pointer), chunk);
    }

    function test_store_emptyOrTooLarge_reverts() public {
        uint256 largest = registry.MAX_CHUNK_BYTES();
        vm.expectRevert(IProgramRegistry.ChunkEmpty.selector);
        registry.store("");
        vm.expectRevert(abi.encodeWithSelector(IProgramRegistry.ChunkTooLarge.selector, largest, largest + 1));
        registry.store(new bytes(largest + 1));
        registry.store(new bytes(largest));
    }

    function testFuzz_publish_unknownEngine_reverts(uint8 engine) public {
        vm.assume(engine != 1 && engine != 2);
        vm.expectRevert(abi.encodeWithSelector(IProgramRegistry.EngineUnknown.selector, engine));
        registry.publish(engine, MANIFEST, keccak256(CODE), new address[](0));
    }

    function test_publish_manifestEmptyOrTooLarge_reverts() public {
        uint256 largest = registry.MAX_MANIFEST_BYTES();
        vm.expectRevert(IProgramRegistry.ManifestEmpty.selector);
        registry.publish(2, "", keccak256(CODE), new address[](0));
        vm.expectRevert(abi.encodeWithSelector(IProgramRegistry.ManifestTooLarge.selector, largest, largest + 1));
        registry.publish(2, new bytes(largest + 1), keccak256(CODE), new address[](0));
        registry.publish(2, new bytes(largest), keccak256(CODE), new address[](0));
    }

    function testFuzz_views_unknownProgram_revert(ProgramId id) public {
        bytes memory unknown = abi.encodeWithSelector(IProgramRegistry.ProgramUnknown.selector, id);
        assertFalse(registry.isPublished(id));
        vm.expectRevert(unknown);
        registry.program(id);
        vm.expectRevert(unknown);
        registry.manifest(id);
        vm.expectRevert(unknown);
        registry.code(id);
    }
}
