// Decodes one value of every kind and encodes it again.
#include "adyton.h"

static void mirror_bytes(adyton_reader *in, adyton_writer *out) {
  adyton_bytes data = adyton_read_bytes(in);
  adyton_write_bytes(out, data.at, data.size);
}

static void mirror_uint(adyton_reader *in, adyton_writer *out, int bits) {
  adyton_write_u256(out, adyton_read_uint(in, bits));
}

ADYTON_RUN {
  adyton_reader in = adyton_input();
  adyton_writer out = adyton_writer_of(15);
  mirror_uint(&in, &out, 256);
  adyton_write_u256(&out, adyton_read_int(&in, 256));
  adyton_write_u256(&out, adyton_read_int(&in, 24));
  adyton_write_bool(&out, adyton_read_bool(&in));
  adyton_write_address(&out, adyton_read_address(&in));
  uint8_t selector[4];
  adyton_read_fixed(&in, selector, 4);
  adyton_write_fixed(&out, selector, 4);
  mirror_bytes(&in, &out);
  mirror_bytes(&in, &out);

  size_t count;
  adyton_reader numbers = adyton_read_array(&in, &count);
  adyton_writer numbers_out = adyton_writer_of(count);
  for (size_t i = 0; i < count; i++) adyton_write_u64(&numbers_out, adyton_read_u64(&numbers));
  adyton_write_array(&out, count, &numbers_out);

  adyton_reader names = adyton_read_array(&in, &count);
  adyton_writer names_out = adyton_writer_of(count);
  for (size_t i = 0; i < count; i++) mirror_bytes(&names, &names_out);
  adyton_write_array(&out, count, &names_out);

  adyton_reader parts = adyton_read_tuple(&in);  // T[k] of dynamic T: an offset to its items
  adyton_writer parts_out = adyton_writer_of(2);
  for (int i = 0; i < 2; i++) {
    adyton_reader part = adyton_read_tuple(&parts);
    adyton_writer part_out = adyton_writer_of(2);
    mirror_uint(&part, &part_out, 8);
    mirror_bytes(&part, &part_out);
    adyton_write_tuple(&parts_out, &part_out);
  }
  adyton_write_tuple(&out, &parts_out);

  adyton_write_u64(&out, adyton_read_u64(&in));
  adyton_write_bool(&out, adyton_read_bool(&in));
  for (int i = 0; i < 2; i++) mirror_uint(&in, &out, 16);
  adyton_return(&out);
}
