// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Fixture} from "../Fixture.sol";

import {DevelopmentVerifier} from "contracts/attestation/DevelopmentVerifier.sol";
import {Attestation, MeasurementId} from "contracts/types/Attestation.sol";

/// @notice `DevelopmentVerifier`: believes the development root, on the development chain only.
contract DevelopmentVerifierTest is Fixture {
    /// @dev D1: refused by its constructor everywhere else.
    function testFuzz_constructor_otherChain_reverts(uint64 chainId) public {
        vm.assume(chainId != 31_337 && chainId != 0);
        vm.chainId(chainId);
        vm.expectRevert(abi.encodeWithSelector(DevelopmentVerifier.DevelopmentChainOnly.selector, 31_337, chainId));
        new DevelopmentVerifier(OWNER);
    }

    /// @dev D1: and should the chain's id change under it, it falls silent.
    function testFuzz_verify_chainIdChanged_reverts(uint64 chainId) public {
        vm.assume(chainId != 31_337 && chainId != 0);
        bytes memory quote = _quote(SIGNER, BUILD, type(uint64).max);
        vm.chainId(chainId);
        vm.expectRevert(abi.encodeWithSelector(DevelopmentVerifier.DevelopmentChainOnly.selector, 31_337, chainId));
        verifier.verify(quote);
    }

    function testFuzz_verify_rootSigned_returnsContent(Attestation memory content) public view {
        Attestation memory verified = verifier.verify(_quote(ROOT_KEY, content));
        assertEq(abi.encode(verified), abi.encode(content));
    }

    /// @dev D2: nothing in the quote can be changed after signing.
    function testFuzz_verify_contentChanged_reverts(Attestation memory content, uint8 which) public {
        bytes memory quote = _quote(ROOT_KEY, content);
        which = uint8(bound(which, 0, 127));
        if (which >= 96) which = 127; // of the fourth word, 24 bytes are padding
        quote[which] = ~quote[which];
        vm.expectRevert();
        verifier.verify(quote);
    }

    function testFuzz_verify_garbage_reverts(bytes calldata quote) public {
        vm.expectRevert();
        verifier.verify(quote);
    }

    function test_root_publicKey_isDerivedFromItsName() public view {
        assertEq(verifier.ROOT(), vm.addr(uint256(keccak256("adyton development root"))));
        assertEq(MeasurementId.unwrap(BUILD), keccak256("adyton test build"));
    }
}
