//! How many primes are there up to n? abi.encode(uint256 n) in, abi.encode(uint256 count) out.
mod adyton;

#[no_mangle]
pub extern "C" fn run() {
    adyton::report_panics();
    let (n,): (u64,) = adyton::decode(&adyton::input());
    if n > 10_000_000 {
        adyton::fail("n is too large");
    }
    let n = n as usize;
    let mut composite = vec![false; n + 1];
    let mut count = 0u64;
    for i in 2..=n {
        if composite[i] {
            continue;
        }
        count += 1;
        let mut j = i.saturating_mul(i);
        while j <= n {
            composite[j] = true;
            j += i;
        }
    }
    adyton::output(&adyton::encode(&(count,)));
}
