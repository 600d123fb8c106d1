/* DEFLATE data to bytes, piece by piece. */
#include "inflate_stream.h"

#define UNIT uint8_t
#define NAMED(name) name##_bytes

static inline void store_entry_bytes(uint8_t *out, uint64_t distance, uint64_t entry) {
    store64(out, (load64(out - distance) & (uint64_t)((int64_t)(int32_t)entry >> 63)) | entry >> 48);
}

#include "inflate_symbols.h"

EXPORT int64_t itkit_inflater_bytes(void) { return (int64_t)sizeof(Inflater); }

/* Begin between two blocks, at a bit of the input; what is used of it are the bytes up to there, one begun counted. */
EXPORT void itkit_inflate_begin(Inflater *s, const uint8_t *input, int64_t bit) {
    Input in = {input, input};
    begin_at(s, &in, bit);
}

/* Inflate until the input is used, the output full, the stream at its end, or a block ends at or behind the bit `stop`;
 * call again with what is left of the input and more. `used` and `made` count bytes of this call, `bit` is the place
 * in its input where it ended. Bytes out[-history..0) were made before. Without `is_last` up to HEADER_BYTES of the input
 * may stay unused. */
EXPORT int itkit_inflate(Inflater *s, const uint8_t *input, int64_t input_bytes, int is_last, int64_t stop,
                         uint8_t *output, int64_t history, int64_t output_bytes, int64_t *used, int64_t *made,
                         int64_t *bit) {
    Input in = {input, input + input_bytes};
    uint8_t *out = output;
    int result = decode_bytes(s, &in, is_last, input, stop, output - history, &out, output + output_bytes);
    *used = in.at - input;
    *made = out - output;
    *bit = place(s, &in, input);
    return result;
}
