/* Shared by the parts of the DEFLATE encoder (RFC 1951): the tokens that the search passes to the writer of blocks. */
#ifndef ITKIT_DEFLATE_H
#define ITKIT_DEFLATE_H

#include "rfc1951.h"

/* A token is two symbols and the extra bits of the second, so that it can be counted and written without a branch:
 *   two literals   first = byte                 second = byte
 *   one literal    first = byte                 second = NOTHING
 *   a match        first = MATCH + length - 3   second = DISTANCE + distance code   extra = extra bits of the distance
 * in 9, 9 and 14 bits, lowest bits first. */
enum {
    MATCH = 256,
    DISTANCE = 256,
    NOTHING = 511,
    SYMBOLS = 512,
    SECOND_SHIFT = 9,
    EXTRA_SHIFT = 18
};

/* Blocks are small: noise, background and organs alternate along a slice, and own codes save more than they cost. */
enum { WORD_TOKENS = 1 << 14, BYTE_TOKENS = 7 << 9, SPARE_TOKENS = 4 };

/* The search stops this far from the end, so that no match and no read ahead goes beyond the data. */
enum { MARGIN = MAX_MATCH + 30 };

enum { HASH_BITS = 15, TERMS = 384 };

/* State of one call. */
typedef struct {
    const uint8_t *plain, *next, *end;
    uint32_t *token, *full;
    uint16_t counts[2 * SYMBOLS]; /* first symbols, then second symbols */
    uint16_t places[1 << HASH_BITS];
    uint32_t terms[TERMS]; /* see fill_terms() */
    uint32_t tokens[WORD_TOKENS + SPARE_TOKENS];
} Deflater;

/* Output of bits: between calls fewer than 8 are pending; the 8 bytes from `next` on may be overwritten. */
typedef struct {
    uint8_t *next;
    uint64_t bits;
    unsigned count;
} BitWriter;

/* Add at most 56 bits. */
static inline void put_bits(BitWriter *w, uint64_t value, unsigned n) {
    w->bits |= value << w->count;
    w->count += n;
    store64(w->next, w->bits);
    w->next += w->count >> 3;
    w->bits >>= w->count & ~7u;
    w->count &= 7;
}

/* Make prefix codes of at most `limit` bits from the counts of the symbols; the first bit of a code is its lowest. */
void deflate_code_lengths(const uint32_t *counts, int n, int limit, uint8_t *lengths);
void deflate_codes(const uint8_t *lengths, int n, uint16_t *codes);

/* Write the tokens as one block, or the plain bytes if these are shorter. */
void deflate_block(BitWriter *w, const Deflater *d, const uint8_t *plain, int64_t bytes, int last);
void deflate_stored(BitWriter *w, const uint8_t *plain, int64_t bytes, int last);

/* Make tokens starting at `next`, until the block is full or the data end. */
void deflate_words(Deflater *d, int64_t item_bytes);
void deflate_bytes(Deflater *d, int64_t row_bytes);

/* Return the position of the lowest, or of the highest, byte that is not 0. */
#if defined(__GNUC__)
static inline uint32_t lowest_byte(uint64_t x) { return (uint32_t)__builtin_ctzll(x) >> 3; }
static inline uint32_t highest_byte(uint64_t x) { return 7 - ((uint32_t)__builtin_clzll(x) >> 3); }
#else
static inline uint32_t lowest_byte(uint64_t x) {
    uint32_t n = 0;
    for (; !(x & 255); x >>= 8) n++;
    return n;
}
static inline uint32_t highest_byte(uint64_t x) {
    uint32_t n = 0;
    for (; x >>= 8;) n++;
    return n;
}
#endif

/* Return how many bytes two positions have in common; the first `known` bytes are known to be equal. */
static inline uint32_t common_bytes(const uint8_t *a, const uint8_t *b, uint32_t known) {
    for (; known + 32 <= MAX_MATCH; known += 32) {
        uint64_t first = load64(a + known) ^ load64(b + known), second = load64(a + known + 8) ^ load64(b + known + 8);
        uint64_t third = load64(a + known + 16) ^ load64(b + known + 16);
        if (first | second | third | (load64(a + known + 24) ^ load64(b + known + 24))) break;
    }
    for (; known + 8 <= MAX_MATCH; known += 8) {
        uint64_t difference = load64(a + known) ^ load64(b + known);
        if (difference) return known + lowest_byte(difference);
    }
    while (known < MAX_MATCH && a[known] == b[known]) known++;
    return known;
}

/* Make tokens of up to two literals. */
static inline void put_literals(Deflater *d) {
    uint32_t second = d->end - d->next > 1 ? d->next[1] : NOTHING;
    d->counts[d->next[0]]++;
    d->counts[SYMBOLS + second]++;
    *d->token++ = d->next[0] | second << SECOND_SHIFT;
    d->next += second == NOTHING ? 1 : 2;
}

#endif
