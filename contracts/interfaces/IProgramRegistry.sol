// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Program, ProgramId} from "../types/Program.sol";

/// @title IProgramRegistry
/// @notice Programs by content hash. Anyone publishes; nobody, publishers included, changes anything afterwards.
/// @dev Being published means nothing but that manifest, and perhaps code, can be had from the chain: the
/// registry judges neither. A program need not be published to be requested.
interface IProgramRegistry {
    /// @notice A program was published, or its code was added to an earlier publication.
    /// @param chunks The contracts that hold the code, in order; empty if the code is not on chain.
    event ProgramPublished(
        ProgramId indexed programId,
        address indexed publisher,
        uint8 engine,
        bytes32 manifestHash,
        bytes32 codeHash,
        address[] chunks
    );

    error EngineUnknown(uint8 engine);
    error ManifestEmpty();
    error ManifestTooLarge(uint256 maximum, uint256 actual);
    error ChunkEmpty();
    error ChunkTooLarge(uint256 maximum, uint256 actual);
    error ChunkNotStored(address pointer);
    error CodeHashMismatch(bytes32 expected, bytes32 actual);
    error ProgramUnknown(ProgramId programId);
    error CodeNotOnChain(ProgramId programId);

    /// @notice The largest manifest in bytes.
    function MAX_MANIFEST_BYTES() external view returns (uint256);

    /// @notice The largest chunk in bytes: what fits into one contract.
    function MAX_CHUNK_BYTES() external view returns (uint256);

    /// @notice Stores a piece of code as the code of a contract, at an address that follows from the bytes.
    /// Storing the same bytes again costs little and gives the same address.
    function store(bytes calldata chunk) external returns (address pointer);

    /// @notice Publishes a program. Publishing it again changes nothing, except that code may be added to a
    /// program published without.
    /// @param manifest The manifest's bytes; always kept on chain.
    /// @param codeHash keccak256 of the code.
    /// @param chunks Pointers from `store` whose bytes, concatenated, are the code; or none, if the code is to be
    /// had elsewhere.
    function publish(uint8 engine, bytes calldata manifest, bytes32 codeHash, address[] calldata chunks)
        external
        returns (ProgramId programId);

    /// @return Whether the program was published.
    function isPublished(ProgramId programId) external view returns (bool);

    /// @return What the program id is the hash of. Reverts if unknown, as the following do.
    function program(ProgramId programId) external view returns (Program memory);

    /// @return The manifest's bytes.
    function manifest(ProgramId programId) external view returns (bytes memory);

    /// @return The code; reverts with `CodeNotOnChain` if it was published by hash alone.
    function code(ProgramId programId) external view returns (bytes memory);
}
