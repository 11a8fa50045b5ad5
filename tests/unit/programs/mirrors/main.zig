//! Decodes one value of every kind and encodes it again.
const adyton = @import("adyton");

const Part = struct { number: u8, data: adyton.Bytes };
const Everything = struct {
    u256,
    i256,
    i24,
    bool,
    adyton.Address,
    adyton.Fixed(4),
    adyton.Bytes,
    adyton.String,
    []const u64,
    []const adyton.String,
    [2]Part,
    struct { u64, bool },
    [2]u16,
};

export fn run() void {
    adyton.output(adyton.encode(adyton.decode(Everything, adyton.input())));
}
