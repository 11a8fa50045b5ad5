// How many primes are there up to n? abi.encode(uint256 n) in, abi.encode(uint256 count) out.
#include "adyton.h"

ADYTON_RUN {
  adyton_reader input = adyton_input();
  uint64_t n = adyton_read_u64(&input);
  if (n > 10000000) adyton_fail("n is too large");

  uint8_t *composite = calloc(n + 1, 1);
  if (!composite) adyton_fail("out of memory");
  uint64_t count = 0;
  for (uint64_t i = 2; i <= n; i++) {
    if (composite[i]) continue;
    count++;
    for (uint64_t j = i * i; j <= n; j += i) composite[j] = 1;
  }

  adyton_writer output = adyton_writer_of(1);
  adyton_write_u64(&output, count);
  adyton_return(&output);
}
