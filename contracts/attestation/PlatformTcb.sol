// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.30;

import {Tee} from "./Collateral.sol";
import {SvnLevels} from "./SvnLevels.sol";
import {TcbLevel, TcbLevels} from "./TcbLevels.sol";

/// @notice What TCB info is compared with: of the PCK certificate the first two, of the quote the others.
/// @param teeTcbSvn TDX: the SVNs of the TDX module, the first one highest.
/// @param moduleSigner TDX: the first 16 bytes of the module's signer's measurement.
/// @param moduleSignerRest TDX: the other 32.
/// @param moduleAttributes TDX: the module's attributes.
struct PlatformTcb {
    uint256 cpuSvn;
    uint256 pceSvn;
    uint256 teeTcbSvn;
    uint128 moduleSigner;
    bytes32 moduleSignerRest;
    uint64 moduleAttributes;
}

using PlatformTcbLibrary for PlatformTcb global;

/// @title PlatformTcbLibrary
/// @notice Finds the level of a platform in packed TCB info; for the layout see `TcbInfo`.
library PlatformTcbLibrary {
    using TcbLevels for TcbLevel;

    uint256 private constant EVEN_BYTES = 0x00ff00ff00ff00ff00ff00ff00ff00ff;
    uint256 private constant GUARDS = 0x01000100010001000100010001000100;
    /// @dev The first two bytes of `teeTcbSvn`: the SVN and the version of the TDX module.
    uint256 private constant MODULE_SVNS = 0xffff << 112;

    error NoTcbLevelMatches();
    error TdxModuleUnknown(uint256 version);
    error TdxModuleWrong(uint256 version);
    error TdxModuleAttributesWrong(uint64 mask, uint64 actual);

    /// @notice The first level that the platform reaches, and for TDX its module's level taken into account.
    /// @param pos Where the packed TCB info begins in memory.
    /// @param end Where it ends.
    function level(PlatformTcb memory self, uint256 pos, uint256 end, uint256 tee)
        internal
        pure
        returns (TcbLevel memory found)
    {
        uint256 modules = pos + 2;
        uint256 levels = modules + (_word(pos) >> 240);
        if (tee == Tee.SGX) return _find(self, levels, end, false);

        // The module of another version than zero has levels of its own, in which its SVN counts; in those of the
        // platform it does not.
        uint256 version = self.teeTcbSvn >> 112 & 0xff;
        (uint256 moduleLevels, uint256 moduleEnd) = _checkModule(self, modules, levels, version);
        uint256 moduleSvn = self.teeTcbSvn >> 120;
        if (version != 0) self.teeTcbSvn |= MODULE_SVNS;
        found = _find(self, levels, end, true);
        if (version != 0) found.merge(SvnLevels.find(moduleLevels, moduleEnd, moduleSvn));
    }

    function _find(PlatformTcb memory self, uint256 pos, uint256 end, bool isTdx)
        private
        pure
        returns (TcbLevel memory)
    {
        uint256 common = isTdx ? 34 : 18;
        while (pos < end) {
            bool reached = _reaches(self.cpuSvn, _word(pos) >> 128) && self.pceSvn >= _word(pos + common - 2) >> 240
                && (!isTdx || _reaches(self.teeTcbSvn, _word(pos + 16) >> 128));
            if (reached) return TcbLevels.read(pos + common);
            pos = TcbLevels.skip(pos + common);
        }
        revert NoTcbLevelMatches();
    }

    /// @dev Finds the module of `version`, and checks that it is Intel's.
    /// @return levels Where its levels begin; those of version zero are none.
    /// @return end Where they end.
    function _checkModule(PlatformTcb memory self, uint256 pos, uint256 limit, uint256 version)
        private
        pure
        returns (uint256 levels, uint256 end)
    {
        uint256 wanted = version == 0 ? 0 : _digit(version >> 4) << 8 | _digit(version & 0xf);
        while (pos < limit) {
            uint256 word = _word(pos);
            end = pos + 4 + (word >> 224 & 0xffff);
            if (word >> 240 == wanted) {
                bytes32 hash = bytes32(_word(pos + 4));
                uint64 mask = uint64(_word(pos + 36) >> 192);
                uint64 actual = self.moduleAttributes;
                require(actual & ~mask == 0, TdxModuleAttributesWrong(mask, actual));
                bytes32 module = keccak256(abi.encodePacked(self.moduleSigner, self.moduleSignerRest, actual & mask));
                require(module == hash, TdxModuleWrong(version));
                return (pos + 44, end);
            }
            pos = end;
        }
        revert TdxModuleUnknown(version);
    }

    /// @dev A hexadecimal digit, as Intel writes them in the names of modules.
    function _digit(uint256 value) private pure returns (uint256) {
        return value < 10 ? 0x30 + value : 0x37 + value;
    }

    /// @dev Whether each of 16 bytes is at least the other. Every second byte gets a guard above it, from which a
    /// larger one borrows.
    function _reaches(uint256 actual, uint256 required) private pure returns (bool) {
        unchecked {
            uint256 even = ((actual & EVEN_BYTES) | GUARDS) - (required & EVEN_BYTES);
            uint256 odd = ((actual >> 8 & EVEN_BYTES) | GUARDS) - (required >> 8 & EVEN_BYTES);
            return even & odd & GUARDS == GUARDS;
        }
    }

    function _word(uint256 pos) private pure returns (uint256 word) {
        assembly ("memory-safe") {
            word := mload(pos)
        }
    }
}
