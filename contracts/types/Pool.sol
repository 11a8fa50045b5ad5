// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

/// @notice A pool is its parameters: who checks receipts and what the work costs. Nothing is stored for it.
/// @dev Layout, high to low:
///
///     | verifier 160 | baseFee, gwei 32 | gasPrice per callback gas, mwei 32 | fuelPrice per 1,000 fuel, wei 32 |
type PoolId is bytes32;

using PoolLibrary for PoolId global;

/// @title PoolLibrary
/// @notice Packs, unpacks and prices a `PoolId`. Pure; mirrored by `oracle/types/pool.py`.
library PoolLibrary {
    uint256 private constant WEI_PER_GWEI = 1e9;
    uint256 private constant WEI_PER_MWEI = 1e6;
    uint256 private constant FUEL_PER_PRICE = 1_000;
    /// @dev What a byte of calldata costs at most: EIP-7623's floor for one that is not zero.
    uint256 internal constant GAS_PER_OUTPUT_BYTE = 40;

    function pack(address verifier_, uint32 baseFeeGwei, uint32 gasPriceMwei, uint32 fuelPriceWei)
        internal
        pure
        returns (PoolId)
    {
        return PoolId.wrap(
            bytes32(
                uint256(uint160(verifier_)) << 96 | uint256(baseFeeGwei) << 64 | uint256(gasPriceMwei) << 32
                    | fuelPriceWei
            )
        );
    }

    /// @return The `IReceiptVerifier` whose word settles requests of this pool.
    function verifier(PoolId self) internal pure returns (address) {
        return address(uint160(uint256(PoolId.unwrap(self)) >> 96));
    }

    /// @notice The gas that the pool's gas price is charged for: what the callback may use, and what it costs to
    /// post the output.
    function pricedGas(uint256 callbackGas, uint256 outputBytes) internal pure returns (uint256) {
        unchecked {
            return callbackGas + outputBytes * GAS_PER_OUTPUT_BYTE;
        }
    }

    /// @param gas From `pricedGas`; only its low 32 bits count, which is more than fits a transaction.
    /// @return fee Wei for a receipt, before the cap by what the consumer escrowed. Cannot overflow: the
    /// largest possible sum is below 2^97.
    function fee(PoolId self, uint256 gas, uint64 fuelUsed) internal pure returns (uint256) {
        uint256 word = uint256(PoolId.unwrap(self));
        unchecked {
            uint256 fixedPart =
                uint32(word >> 64) * WEI_PER_GWEI + uint256(uint32(gas)) * uint32(word >> 32) * WEI_PER_MWEI;
            return fixedPart + (uint256(fuelUsed) * uint32(word) + (FUEL_PER_PRICE - 1)) / FUEL_PER_PRICE;
        }
    }
}
