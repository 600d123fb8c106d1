/* The constants of DEFLATE (RFC 1951), and access to unaligned little-endian words. */
#ifndef ITKIT_RFC1951_H
#define ITKIT_RFC1951_H

#include "../common.h"

enum {
    LITERAL_CODES = 286,
    DISTANCE_CODES = 30,
    LENGTH_CODES = 29,
    CODE_LENGTH_CODES = 19,
    END_OF_BLOCK = 256,
    MAX_BITS = 15,
    MIN_MATCH = 3,
    MAX_MATCH = 258,
    WINDOW = 1 << 15
};

/* The bits that follow the code of a match's length, and the code of its distance. */
static const uint8_t LENGTH_EXTRA[LENGTH_CODES] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                                   2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
static inline unsigned distance_extra(unsigned code) { return code < 4 ? 0 : code / 2 - 1; }

/* The order in which a block stores the lengths of the codes for code lengths. */
static const uint8_t CODE_LENGTH_ORDER[CODE_LENGTH_CODES] = {16, 17, 18, 0, 8,  7, 9,  6, 10, 5,
                                                             11, 4,  12, 3, 13, 2, 14, 1, 15};

static inline uint32_t load32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap32(v);
#endif
    return v;
}

static inline uint64_t load64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    return v;
}

static inline void store64(uint8_t *p, uint64_t v) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    v = __builtin_bswap64(v);
#endif
    memcpy(p, &v, sizeof v);
}

#endif
