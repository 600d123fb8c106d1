/* Prefix codes of limited length.
 *
 * The Huffman code is built with two queues over sorted counts (van Leeuwen, "On the construction of Huffman trees",
 * ICALP 1976). Codes longer than the limit are cut to it; then the Kraft sum is too large, and codes are lengthened,
 * longest first, until it is right. Only counts as skewed as Fibonacci's numbers need this. */
#include "deflate.h"

enum { KEY_BITS = 9, RADIX_BITS = 7, RADIX = 1 << RADIX_BITS, MAX_SYMBOLS = 288 };

/* Return the keys (count, symbol) of the symbols that occur, ascending. */
static int sorted_keys(const uint32_t *counts, int n, uint32_t *keys) {
    uint32_t spare[MAX_SYMBOLS], all = 0;
    uint32_t *from = keys, *to = spare;
    int used = 0;
    for (int i = 0; i < n; i++) {
        keys[used] = counts[i] << KEY_BITS | (uint32_t)i;
        used += counts[i] != 0;
        all |= counts[i];
    }
    for (int shift = KEY_BITS; all; shift += RADIX_BITS, all >>= RADIX_BITS) {
        uint16_t places[RADIX + 1] = {0};
        for (int i = 0; i < used; i++) places[(from[i] >> shift & (RADIX - 1)) + 1]++;
        for (int i = 0; i < RADIX; i++) places[i + 1] = (uint16_t)(places[i + 1] + places[i]);
        for (int i = 0; i < used; i++) to[places[from[i] >> shift & (RADIX - 1)]++] = from[i];
        uint32_t *swap = from;
        from = to;
        to = swap;
    }
    if (from != keys) memcpy(keys, from, (size_t)used * sizeof *keys);
    return used;
}

void deflate_code_lengths(const uint32_t *counts, int n, int limit, uint8_t *lengths) {
    uint32_t keys[MAX_SYMBOLS + 1], weights[MAX_SYMBOLS];
    uint16_t parents[2 * MAX_SYMBOLS]; /* of leaves, then of inner nodes */
    uint8_t depths[MAX_SYMBOLS];
    int of_length[MAX_BITS + 1] = {0};
    memset(lengths, 0, (size_t)n);
    int used = sorted_keys(counts, n, keys);
    if (used < 2) {
        if (used) lengths[keys[0] & ((1 << KEY_BITS) - 1)] = 1;
        return;
    }
    keys[used] = UINT32_MAX;
    for (int i = 0; i < used; i++) weights[i] = UINT32_MAX;
    for (int made = 0, leaf = 0, inner = 0; made < used - 1; made++) {
        uint32_t sum = 0;
        for (int child = 0; child < 2; child++) {
            uint32_t count = keys[leaf] >> KEY_BITS, weight = weights[inner];
            int is_leaf = count <= weight && leaf < used;
            parents[is_leaf ? leaf : MAX_SYMBOLS + inner] = (uint16_t)made;
            sum += is_leaf ? count : weight;
            leaf += is_leaf;
            inner += !is_leaf;
        }
        weights[made] = sum;
    }
    depths[used - 2] = 0;
    for (int i = used - 3; i >= 0; i--) depths[i] = (uint8_t)(depths[parents[MAX_SYMBOLS + i]] + 1);
    int32_t excess = -(1 << limit);
    for (int i = 0; i < used; i++) {
        int length = depths[parents[i]] + 1;
        if (length > limit) length = limit;
        of_length[length]++;
        excess += 1 << (limit - length);
    }
    for (; excess > 0; excess--) { /* a leaf above the limit becomes a node of two, one taken from the limit */
        int length = limit - 1;
        while (!of_length[length]) length--;
        of_length[length]--;
        of_length[length + 1] += 2;
        of_length[limit]--;
    }
    for (int length = limit, i = 0; length > 0; length--)
        for (int k = 0; k < of_length[length]; k++) lengths[keys[i++] & ((1 << KEY_BITS) - 1)] = (uint8_t)length;
}

void deflate_codes(const uint8_t *lengths, int n, uint16_t *codes) {
    uint32_t of_length[MAX_BITS + 1] = {0}, next[MAX_BITS + 2] = {0};
    for (int i = 0; i < n; i++) of_length[lengths[i]]++;
    of_length[0] = 0;
    for (int length = 1; length <= MAX_BITS; length++) next[length + 1] = (next[length] + of_length[length]) << 1;
    for (int i = 0; i < n; i++) codes[i] = (uint16_t)(next[lengths[i]]++ << (16 - lengths[i]));
    for (int i = 0; i < n; i++) {
        uint32_t code = codes[i];
        code = (code & 0x5555) << 1 | (code >> 1 & 0x5555);
        code = (code & 0x3333) << 2 | (code >> 2 & 0x3333);
        code = (code & 0x0f0f) << 4 | (code >> 4 & 0x0f0f);
        codes[i] = (uint16_t)(code << 8 | code >> 8);
    }
}
