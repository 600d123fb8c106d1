/* A piece from the middle of a DEFLATE stream, decoded before what lies in front of it is known: so threads share one.
 *
 * As pugz does (Kerbiriou and Chikhi, "Parallel decompression of gzip-compressed files and random access to DNA
 * sequences", arXiv:1905.07224; github.com/Piezoid/pugz): the start of a block is searched for, and bytes that a match
 * takes from the 32 KiB before it become units that name their place there. Where the piece before ends shows whether
 * the start was one. */
#include "inflate_stream.h"

#define UNIT uint16_t
#define NAMED(name) name##_units

/* Two literals as units in the order of memory. */
static inline uint64_t two_units(uint64_t entry) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return (entry >> 48 & 255) << 48 | entry >> 56 << 32;
#else
    return (entry >> 48 & 255) | entry >> 56 << 16;
#endif
}

static inline void store_entry_units(uint16_t *out, uint64_t distance, uint64_t entry) {
    uint64_t low, high, mask = (uint64_t)((int64_t)(int32_t)entry >> 63);
    memcpy(&low, out - distance, 8);
    memcpy(&high, out - distance + 4, 8);
    low = (low & mask) | two_units(entry);
    memcpy(out, &low, 8);
    memcpy(out + 4, &high, 8);
}

#include "inflate_symbols.h"

/* Whether the code lengths of the code lengths of a block could be right: they fill their code. `bits` are a header's. */
static int may_begin_block(uint64_t bits, uint64_t lengths) {
    uint32_t sum = 0, n = (uint32_t)(bits >> 13 & 15) + 4;
    if ((bits & 7) != 4 || (bits >> 3 & 31) > 29 || (bits >> 8 & 31) > 29) return 0; /* not the last, own codes */
    for (; n--; lengths >>= 3) sum += (128 >> (lengths & 7)) & 127;
    return sum == 128;
}

static inline uint64_t bits_at(const uint8_t *input, int64_t bit) { return load64(input + (bit >> 3)) >> (bit & 7); }

/* Find where a block with codes of its own begins, at or behind a bit, and begin it; -1: nowhere up to `limit`. */
static int64_t find_block(Inflater *s, Input *in, int64_t bit, int64_t limit) {
    const Input whole = *in;
    int64_t most = (whole.end - whole.at - HEADER_BYTES) * 8;
    if (limit > most) limit = most;
    for (; bit < limit; bit++) {
        if (!may_begin_block(bits_at(whole.at, bit), bits_at(whole.at, bit + 17))) continue;
        *in = whole;
        begin_at(s, in, bit);
        if (begin_block(s, in) == 0) return bit;
    }
    return -1;
}

/* Decode from the first block at or behind the bit `from` to the first end of one at or behind `stop`. The first WINDOW
 * units of the output stand for the bytes before; `made` counts those behind them. After STOPPED or ENDED, `begin` and
 * `end` are the bits where it was; any other result is of no use. */
EXPORT int itkit_inflate_segment(Inflater *s, const uint8_t *input, int64_t input_bytes, int is_last, int64_t from,
                                 int64_t stop, uint16_t *output, int64_t room, int64_t *begin, int64_t *end,
                                 int64_t *made) {
    Input in = {input, input + input_bytes};
    int64_t bit = find_block(s, &in, from, stop);
    if (bit < 0 || room < WINDOW) return BAD_BLOCK;
    for (int i = 0; i < WINDOW; i++) output[i] = (uint16_t)(256 + i);
    uint16_t *out = output + WINDOW;
    int result = decode_units(s, &in, is_last, input, stop, output, &out, output + room);
    *begin = bit;
    *end = place(s, &in, input);
    *made = out - output - WINDOW;
    return result;
}

/* Units to bytes; `window` are the WINDOW bytes before them. */
EXPORT void itkit_resolve(const uint16_t *units, int64_t n, const uint8_t *window, uint8_t *bytes) {
    uint8_t meaning[256 + WINDOW];
    for (int i = 0; i < 256; i++) meaning[i] = (uint8_t)i;
    memcpy(meaning + 256, window, WINDOW);
    for (int64_t i = 0; i < n; i++) bytes[i] = meaning[units[i]];
}
