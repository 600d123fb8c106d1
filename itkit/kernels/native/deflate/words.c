/* Find matches in samples of 2, 4 or 8 bytes, at even positions only, by the four bytes found there.
 *
 * Noise decides whether there is a match, so no processor can predict it, and most time would go into waiting for
 * the answer. Therefore every position is looked up before it is known whether a match skips it: after a wrong branch
 * prediction, the next answer is already there. */
#include "deflate.h"

enum { REACH = WINDOW / 2, FIRST_WORDS = 8 };

/* Result of a look-up: the distance back in 2-byte words, less one, and the bits in which the two positions differ. */
typedef struct {
    uint64_t bytes, difference;
    uint32_t back;
} Found;

static inline uint16_t *place_of(Deflater *d, uint32_t bytes) {
    return d->places + (bytes * 2654435761u >> (32 - HASH_BITS));
}

/* Look up a position and record it. Any distance within `mask` is safe to read, so stale entries need no check. */
static inline Found look_up(Deflater *d, const uint8_t *plain, const uint8_t *p, uint32_t mask) {
    Found f;
    f.bytes = load64(p);
    uint32_t word = (uint32_t)((p - plain) >> 1);
    uint16_t *place = place_of(d, (uint32_t)f.bytes);
    f.back = (word - 1 - *place) & mask;
    *place = (uint16_t)word;
    f.difference = load64(p - 2 * (int64_t)f.back - 2) ^ f.bytes;
    return f;
}

static inline uint32_t *put_match(Deflater *d, uint32_t *token, uint32_t length, uint32_t back) {
    uint32_t far = (uint32_t)((int32_t)(127 - back) >> 31); /* all ones from 128 on */
    uint32_t value = length + (back << (EXTRA_SHIFT + 1)) + d->terms[(back >> (far & 6)) + (far & 128)];
    d->counts[value & (SYMBOLS - 1)]++;
    d->counts[SYMBOLS + (value >> SECOND_SHIFT & (SYMBOLS - 1))]++;
    *token = value;
    return token + 1;
}

static inline uint32_t *put_word(Deflater *d, uint32_t *token, uint64_t bytes) {
    uint32_t first = bytes & 255, second = bytes >> 8 & 255;
    d->counts[first]++;
    d->counts[SYMBOLS + second]++;
    *token = first | second << SECOND_SHIFT;
    return token + 1;
}

/* terms[i] makes a token of `length + (back << 19) + terms[i]`: both the code and the base of the distance 2 * back + 2
 * follow from i, which is back up to 127 and 128 + back / 64 from there on. */
static void fill_terms(uint32_t *terms) {
    for (uint32_t i = 0; i < TERMS; i++) {
        uint32_t less_one = 2 * (i < 128 ? i : (i - 128) << 6) + 1, code = less_one, base = less_one;
        for (unsigned bits = 1; less_one >> bits > 1; bits++) {
            code = 2 * bits + 2 + (less_one >> bits & 1);
            base = less_one >> bits << bits;
        }
        terms[i] = ((DISTANCE + code) << SECOND_SHIFT) + ((1 - base) << EXTRA_SHIFT) + MATCH - MIN_MATCH;
    }
}

/* Make tokens up to `stop` from matches of whole words, at most mask + 1 words back. */
static void search(Deflater *d, const uint8_t *stop, uint32_t mask, uint32_t item) {
    const uint8_t *plain = d->plain, *p = d->next;
    uint32_t *token = d->token, *full = d->full;
    Found a = look_up(d, plain, p, mask), b = look_up(d, plain, p + 2, mask);
    while (token < full && p < stop) { /* so few tokens at a time that no match can lead too far */
        int64_t most = (stop - p) / (MAX_MATCH + 2) + 1;
        uint32_t *limit = full - token < most ? full : token + most;
        while (token < limit) {
            Found c = look_up(d, plain, p + 4, mask), e = look_up(d, plain, p + 6, mask);
            if ((uint32_t)a.difference != 0) {
                token = put_word(d, token, a.bytes);
                p += 2;
                if ((uint32_t)b.difference != 0) {
                    token = put_word(d, token, b.bytes);
                    p += 2;
                    a = c;
                    b = e;
                    continue;
                }
                if (b.difference << 16) {
                    token = put_match(d, token, 4, b.back);
                    p += 4;
                    a = e;
                    b = look_up(d, plain, p + 2, mask);
                    continue;
                }
                a = b;
            } else if (a.difference << 16) {
                token = put_match(d, token, 4, a.back);
                p += 4;
                a = c;
                b = e;
                continue;
            } else if (a.difference) {
                token = put_match(d, token, 6, a.back);
                p += 6;
                a = e;
                b = look_up(d, plain, p + 2, mask);
                continue;
            }
            uint32_t length = common_bytes(p, p - 2 * (int64_t)a.back - 2, 6) & ~1u;
            token = put_match(d, token, length, a.back);
            p += length;
            /* record the previous sample, so that a run continues at its shortest distance */
            *place_of(d, load32(p - item)) = (uint16_t)((p - plain - item) >> 1);
            a = look_up(d, plain, p, mask);
            b = look_up(d, plain, p + 2, mask);
        }
    }
    d->next = p;
    d->token = token;
}

void deflate_words(Deflater *d, int64_t item_bytes) {
    const uint32_t item = item_bytes == 4 || item_bytes == 8 ? (uint32_t)item_bytes : 2;
    if (d->next == d->plain) {
        fill_terms(d->terms);
        memset(d->places, 0, sizeof d->places);
        while (d->next < d->end && d->next < d->plain + 2 * FIRST_WORDS) put_literals(d);
    }
    while (d->token < d->full && d->end - d->next > MARGIN) { /* near the start, distances are limited by the data */
        int64_t words = (d->next - d->plain) / 2, reach = FIRST_WORDS;
        while (2 * reach <= words && reach < REACH) reach *= 2;
        const uint8_t *stop = d->end - MARGIN;
        if (reach < REACH && stop - d->plain > 4 * reach) stop = d->plain + 4 * reach;
        search(d, stop, (uint32_t)reach - 1, item);
    }
    if (d->end - d->next <= MARGIN)
        while (d->token < d->full && d->next < d->end) put_literals(d);
}
