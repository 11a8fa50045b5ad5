// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {SSTORE2} from "solady/utils/SSTORE2.sol";

import {IProgramRegistry} from "./interfaces/IProgramRegistry.sol";
import {Program, ProgramId, ProgramLibrary} from "./types/Program.sol";

/// @title ProgramRegistry
/// @notice Programs by content hash; immutable once published.
/// @dev Invariants PR1 to PR5 are in docs/INVARIANTS.md. No owner, no money. Chunks and records are the code of
/// contracts that this registry alone creates, so they can neither run nor be destroyed.
contract ProgramRegistry is IProgramRegistry {
    /// @inheritdoc IProgramRegistry
    uint256 public constant MAX_MANIFEST_BYTES = 4_096;
    /// @inheritdoc IProgramRegistry
    /// @dev EIP-170's limit less the byte in front that keeps data from being run.
    uint256 public constant MAX_CHUNK_BYTES = 24_575;

    bytes32 private constant SALT = 0;

    /// @dev Points to abi.encode(Program, manifest, chunks).
    mapping(ProgramId => address) private _records;

    /// @inheritdoc IProgramRegistry
    function store(bytes calldata chunk) external returns (address pointer) {
        require(chunk.length != 0, ChunkEmpty());
        require(chunk.length <= MAX_CHUNK_BYTES, ChunkTooLarge(MAX_CHUNK_BYTES, chunk.length));
        pointer = SSTORE2.predictCounterfactualAddress(chunk, SALT);
        if (pointer.code.length == 0) SSTORE2.writeCounterfactual(chunk, SALT);
    }

    /// @inheritdoc IProgramRegistry
    function publish(uint8 engine, bytes calldata manifest_, bytes32 codeHash, address[] calldata chunks)
        external
        returns (ProgramId programId)
    {
        // 1. Known engine, sane manifest.
        require(engine == ProgramLibrary.ENGINE_WASM || engine == ProgramLibrary.ENGINE_JS, EngineUnknown(engine));
        require(manifest_.length != 0, ManifestEmpty());
        require(manifest_.length <= MAX_MANIFEST_BYTES, ManifestTooLarge(MAX_MANIFEST_BYTES, manifest_.length));

        // 2. Anything new?
        Program memory program_ = Program({engine: engine, manifestHash: keccak256(manifest_), codeHash: codeHash});
        programId = program_.id();
        if (isPublished(programId) && (chunks.length == 0 || _chunks(programId).length != 0)) return programId;

        // 3. The chunks are the code.
        if (chunks.length != 0) {
            bytes32 actual = keccak256(_concatenate(chunks));
            // INVARIANT: code on chain hashes to what the program id commits to.
            require(actual == codeHash, CodeHashMismatch(codeHash, actual));
        }

        _records[programId] = SSTORE2.write(abi.encode(program_, manifest_, chunks));
        emit ProgramPublished(programId, msg.sender, engine, program_.manifestHash, codeHash, chunks);
    }

    /// @inheritdoc IProgramRegistry
    function isPublished(ProgramId programId) public view returns (bool) {
        return _records[programId] != address(0);
    }

    /// @inheritdoc IProgramRegistry
    function program(ProgramId programId) external view returns (Program memory program_) {
        (program_,,) = _record(programId);
    }

    /// @inheritdoc IProgramRegistry
    function manifest(ProgramId programId) external view returns (bytes memory manifest_) {
        (, manifest_,) = _record(programId);
    }

    /// @inheritdoc IProgramRegistry
    function code(ProgramId programId) external view returns (bytes memory) {
        address[] memory chunks = _chunks(programId);
        require(chunks.length != 0, CodeNotOnChain(programId));
        return _concatenate(chunks);
    }

    function _record(ProgramId programId)
        private
        view
        returns (Program memory program_, bytes memory manifest_, address[] memory chunks)
    {
        require(isPublished(programId), ProgramUnknown(programId));
        return abi.decode(SSTORE2.read(_records[programId]), (Program, bytes, address[]));
    }

    function _chunks(ProgramId programId) private view returns (address[] memory chunks) {
        (,, chunks) = _record(programId);
    }

    /// @dev Takes only what `store` has put at the address that follows from its bytes.
    function _concatenate(address[] memory chunks) private view returns (bytes memory whole) {
        uint256 size;
        for (uint256 i; i < chunks.length; ++i) {
            require(chunks[i].code.length > 1, ChunkNotStored(chunks[i]));
            size += chunks[i].code.length - 1;
        }
        whole = new bytes(size);

        uint256 offset = 32;
        for (uint256 i; i < chunks.length; ++i) {
            bytes memory chunk = SSTORE2.read(chunks[i]);
            require(SSTORE2.predictCounterfactualAddress(chunk, SALT) == chunks[i], ChunkNotStored(chunks[i]));
            uint256 length = chunk.length;
            assembly ("memory-safe") {
                mcopy(add(whole, offset), add(chunk, 32), length)
                mstore(0x40, chunk) // its memory serves the next one
            }
            offset += length;
        }
    }
}
