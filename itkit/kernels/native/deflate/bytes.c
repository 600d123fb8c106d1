/* Find matches in samples of one byte, most of which are label maps: runs, and repeats of the previous row. */
#include "deflate.h"

enum { MIN_RUN = 4, MIN_CHANGES = 2 };

/* How often the first bytes of a match differ from the byte before; the count stops at MIN_CHANGES. */
static uint32_t changes(const uint8_t *p, uint32_t length) {
    const uint8_t *end = p + length;
    uint32_t n = 0;
    while (p < end && n < MIN_CHANGES) {
        if (end - p >= 8 && load64(p) == load64(p - 1)) {
            p += 8;
        } else {
            n += *p != p[-1];
            p++;
        }
    }
    return n;
}

/* Two tables, because increments for equal neighbours, which are common, would wait for each other. */
static void count(uint16_t *counts, const uint32_t *token, const uint32_t *end) {
    uint16_t others[2 * SYMBOLS] = {0};
    for (; end - token >= 2; token += 2) {
        counts[token[0] & (SYMBOLS - 1)]++;
        counts[SYMBOLS + (token[0] >> SECOND_SHIFT & (SYMBOLS - 1))]++;
        others[token[1] & (SYMBOLS - 1)]++;
        others[SYMBOLS + (token[1] >> SECOND_SHIFT & (SYMBOLS - 1))]++;
    }
    if (token < end) {
        counts[token[0] & (SYMBOLS - 1)]++;
        counts[SYMBOLS + (token[0] >> SECOND_SHIFT & (SYMBOLS - 1))]++;
    }
    for (int k = 0; k < 2 * SYMBOLS; k++) counts[k] = (uint16_t)(counts[k] + others[k]);
}

static uint32_t match_symbols(uint32_t distance) {
    uint32_t less_one = distance - 1, code = less_one, extra = 0;
    for (unsigned bits = 1; less_one >> bits > 1; bits++) {
        code = 2 * bits + 2 + (less_one >> bits & 1);
        extra = less_one & ((1u << bits) - 1);
    }
    return (MATCH - MIN_MATCH) + ((DISTANCE + code) << SECOND_SHIFT) + (extra << EXTRA_SHIFT);
}

/* Make tokens up to `stop`, starting with the second byte; with a row of 1 byte, only runs are found. */
static void search(Deflater *d, const uint8_t *stop, int64_t row) {
    const uint32_t of_run = match_symbols(1), of_row = match_symbols((uint32_t)row);
    const uint8_t *p = d->next;
    uint32_t *token = d->token, *full = d->full;
    while (token < full && p < stop) {
        uint64_t bytes = load64(p), change = load64(p - 1) ^ bytes;
        if (!change) {
            uint32_t length = common_bytes(p, p - 1, 8);
            *token++ = of_run + length;
            p += length;
            continue;
        }
        if (load64(p - row) == bytes) { /* its longer code pays off only if it replaces several runs */
            uint32_t length = common_bytes(p, p - row, 8);
            if (changes(p, length) >= MIN_CHANGES) {
                *token++ = of_row + length;
                p += length;
                continue;
            }
        }
        uint32_t run = lowest_byte(change);
        if (run >= MIN_RUN) {
            token[0] = of_run + run;
            token[1] = p[run] | (uint32_t)NOTHING << SECOND_SHIFT;
            token += 2;
            p += run + 1;
        } else { /* up to the last change within the 8 bytes, without finding the end of each run */
            uint32_t n = highest_byte(change) + 1;
            for (int i = 0; i < 4; i++) token[i] = p[2 * i] | (uint32_t)p[2 * i + 1] << SECOND_SHIFT;
            token += (n + 1) / 2;
            token[-1] |= (n & 1) * ((uint32_t)NOTHING << SECOND_SHIFT);
            p += n;
        }
    }
    count(d->counts, d->token, token);
    d->next = p;
    d->token = token;
}

void deflate_bytes(Deflater *d, int64_t row_bytes) {
    int64_t row = row_bytes > 1 && row_bytes <= WINDOW ? row_bytes : 1;
    if (d->next == d->plain && d->next < d->end) put_literals(d);
    while (d->token < d->full && d->end - d->next > MARGIN) {
        int first = d->next - d->plain < row;
        const uint8_t *stop = d->end - MARGIN;
        if (first && stop - d->plain > row) stop = d->plain + row;
        search(d, stop, first ? 1 : row);
    }
    if (d->end - d->next <= MARGIN)
        while (d->token < d->full && d->next < d->end) put_literals(d);
}
