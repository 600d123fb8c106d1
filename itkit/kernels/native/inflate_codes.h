/* Canonical Huffman codes, read: short ones from a table, long ones by their rank. */
#ifndef ITKIT_INFLATE_CODES_H
#define ITKIT_INFLATE_CODES_H

#include "rfc1951.h"

#if defined(__GNUC__)
#define ALWAYS_INLINE inline __attribute__((always_inline))
#else
#define ALWAYS_INLINE inline
#endif

typedef uint64_t Bits;

enum {
    LITERALS = 288,    /* with two that have codes in fixed blocks and must not be used */
    LITERAL_BITS = 10, /* codes up to so many bits are found in a table, longer ones by search */
    BAD_CODES = -3
};

/* A canonical Huffman code: short codes by table, long ones by their rank among the codes of one length. */
typedef struct {
    int bits;
    uint16_t first[1 << LITERAL_BITS]; /* symbol << 4 | length, by the next `bits`; 0: longer, or none */
    uint16_t limit[MAX_BITS + 2];      /* one past the last code of a length */
    uint16_t rank[MAX_BITS + 2];       /* place of a length's first code among the symbols, less that code */
    uint16_t symbols[LITERALS];
} Code;

static inline uint32_t reversed(uint32_t code, int length) {
    code = (code & 0x5555) << 1 | ((code >> 1) & 0x5555);
    code = (code & 0x3333) << 2 | ((code >> 2) & 0x3333);
    code = (code & 0x0F0F) << 4 | ((code >> 4) & 0x0F0F);
    return ((code & 0x00FF) << 8 | code >> 8) >> (16 - length);
}

/* Build a code from the lengths of its words. An incomplete code is taken where it is one word of one bit, or none. */
static int build_code(Code *code, int bits, const uint8_t *lengths, int n) {
    uint16_t counts[MAX_BITS + 2] = {0}, at[MAX_BITS + 2];
    for (int i = 0; i < n; i++) counts[lengths[i]]++;
    int words = n - counts[0];
    counts[0] = 0;
    int32_t next = 0, place = 0;
    for (int length = 1; length <= MAX_BITS; length++) {
        next <<= 1;
        code->rank[length] = (uint16_t)(place - next);
        at[length] = (uint16_t)place;
        next += counts[length];
        place += counts[length];
        if (next > 1 << length) return BAD_CODES;
        code->limit[length] = (uint16_t)next;
    }
    if (next != 1 << MAX_BITS && !(words == 0 || (words == 1 && counts[1] == 1))) return BAD_CODES;
    for (int i = 0; i < n; i++)
        if (lengths[i]) code->symbols[at[lengths[i]]++] = (uint16_t)i;
    code->bits = bits;
    memset(code->first, 0, sizeof code->first[0] << bits);
    place = 0;
    for (int length = 1; length <= bits; length++)
        for (int i = 0; i < counts[length]; i++, place++) {
            uint32_t word = (uint32_t)(place - (int16_t)code->rank[length]) & ((1u << length) - 1);
            uint16_t entry = (uint16_t)(code->symbols[place] << 4 | length);
            for (uint32_t j = reversed(word, length); j < 1u << bits; j += 1u << length) code->first[j] = entry;
        }
    return 0;
}

/* Symbol << 4 | length of the next word; 0 if the bits are none. */
static ALWAYS_INLINE uint32_t find_word(const Code *code, Bits bits) {
    uint32_t start = (uint32_t)bits & ((1u << code->bits) - 1), entry = code->first[start];
    if (entry) return entry;
    uint32_t word = reversed(start, code->bits);
    for (int length = code->bits + 1; length <= MAX_BITS; length++) {
        word = word << 1 | ((uint32_t)(bits >> (length - 1)) & 1);
        if (word < code->limit[length])
            return (uint32_t)code->symbols[(uint16_t)(word + code->rank[length])] << 4 | (uint32_t)length;
    }
    return 0;
}

#endif
