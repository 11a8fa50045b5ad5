//! How many primes are there up to n? abi.encode(uint256 n) in, abi.encode(uint256 count) out.
const adyton = @import("adyton");

export fn run() void {
    const input = adyton.decode(struct { n: u256 }, adyton.input());
    if (input.n > 10_000_000) adyton.fail("n is too large");
    const n: usize = @intCast(input.n);

    const composite = adyton.allocate(bool, n + 1);
    @memset(composite, false);
    var count: u256 = 0;
    var i: usize = 2;
    while (i <= n) : (i += 1) {
        if (composite[i]) continue;
        count += 1;
        if (i > n / i) continue;
        var j = i * i;
        while (j <= n) : (j += i) composite[j] = true;
    }
    adyton.output(adyton.encode(.{count}));
}
