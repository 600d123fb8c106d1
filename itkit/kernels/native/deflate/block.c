/* Write a block of tokens: count the symbols, describe the codes, write the tokens. */
#include "deflate.h"

enum { MAX_CODE_LENGTH_BITS = 7, MAX_STORED = 65535 };
enum { REPEAT = 16, ZEROS = 17, MANY_ZEROS = 18 }; /* symbols that repeat a code length */

/* How a symbol is written: `first` holds code << 6 | bits; `second` code << 12 | bits with extra bits << 6 | bits. */
typedef struct {
    uint32_t first[SYMBOLS], second[SYMBOLS];
} Tables;

/* The code lengths of a block as RFC 1951 describes them: symbols 0..18, with the repeats' extra bits above bit 5. */
typedef struct {
    uint16_t symbols[LITERAL_CODES + DISTANCE_CODES];
    int n, literals, distances, lengths;
    uint8_t bits[CODE_LENGTH_CODES];
    int64_t size;
} Description;

static const uint8_t REPEAT_EXTRA[3] = {2, 3, 7};

/* How many match lengths share a code; 258 has a code of its own. */
static inline int lengths_of(int code) { return code == 27 ? 31 : 1 << LENGTH_EXTRA[code]; }

/* Count how often the block uses each code; match lengths that share a code are counted together. */
static void count_codes(const uint16_t *counts, uint32_t *literals, uint32_t *distances) {
    for (int k = 0; k < 256; k++) literals[k] = (uint32_t)counts[k] + counts[SYMBOLS + k];
    literals[END_OF_BLOCK] = 1;
    for (int code = 0, k = MATCH; code < LENGTH_CODES; code++) {
        int end = k + lengths_of(code);
        uint32_t sum = 0;
        for (; k < end; k++) sum += counts[k];
        literals[END_OF_BLOCK + 1 + code] = sum;
    }
    for (int k = 0; k < DISTANCE_CODES; k++) distances[k] = counts[SYMBOLS + DISTANCE + k];
}

static void describe(Description *d, const uint8_t *literals, const uint8_t *distances) {
    uint8_t all[LITERAL_CODES + DISTANCE_CODES + 1];
    uint32_t counts[CODE_LENGTH_CODES] = {0};
    d->literals = LITERAL_CODES;
    d->distances = DISTANCE_CODES;
    while (!literals[d->literals - 1]) d->literals--; /* the end of the block has a code */
    while (d->distances > 1 && !distances[d->distances - 1]) d->distances--;
    int n = d->literals + d->distances;
    memcpy(all, literals, (size_t)d->literals);
    memcpy(all + d->literals, distances, (size_t)d->distances);
    all[n] = 255;
    d->n = 0;
    for (int i = 0; i < n;) {
        int length = all[i], run = 1;
        while (all[i + run] == length) run++;
        i += run;
        if (length) {
            d->symbols[d->n++] = (uint16_t)length;
            run--;
        }
        while (run >= 3) {
            int most = length ? 6 : 138, times = run < most ? run : most;
            int symbol = length ? REPEAT : times < 11 ? ZEROS : MANY_ZEROS;
            d->symbols[d->n++] = (uint16_t)(symbol | (times - (symbol == MANY_ZEROS ? 11 : 3)) << 5);
            run -= times;
        }
        for (; run > 0; run--) d->symbols[d->n++] = (uint16_t)length;
    }
    for (int i = 0; i < d->n; i++) counts[d->symbols[i] & 31]++;
    deflate_code_lengths(counts, CODE_LENGTH_CODES, MAX_CODE_LENGTH_BITS, d->bits);
    d->lengths = CODE_LENGTH_CODES;
    while (d->lengths > 4 && !d->bits[CODE_LENGTH_ORDER[d->lengths - 1]]) d->lengths--;
    d->size = 3 + 5 + 5 + 4 + 3 * d->lengths;
    for (int k = 0; k < CODE_LENGTH_CODES; k++)
        d->size += (int64_t)counts[k] * (d->bits[k] + (k < REPEAT ? 0 : REPEAT_EXTRA[k - REPEAT]));
}

static void put_description(BitWriter *w, const Description *d, int last) {
    uint16_t codes[CODE_LENGTH_CODES];
    deflate_codes(d->bits, CODE_LENGTH_CODES, codes);
    put_bits(w, (unsigned)(last != 0) | 2u << 1, 3);
    put_bits(w, (unsigned)(d->literals - 257), 5);
    put_bits(w, (unsigned)(d->distances - 1), 5);
    put_bits(w, (unsigned)(d->lengths - 4), 4);
    for (int k = 0; k < d->lengths; k++) put_bits(w, d->bits[CODE_LENGTH_ORDER[k]], 3);
    for (int i = 0; i < d->n; i++) {
        int symbol = d->symbols[i] & 31;
        unsigned n = d->bits[symbol];
        uint64_t value = codes[symbol] | (uint64_t)(d->symbols[i] >> 5) << n;
        put_bits(w, value, n + (symbol < REPEAT ? 0 : REPEAT_EXTRA[symbol - REPEAT]));
    }
}

static void fill_tables(Tables *t, const uint8_t *literals, const uint16_t *codes, const uint8_t *distances,
                        const uint16_t *distance_codes) {
    for (int k = 0; k < 256; k++) {
        t->first[k] = (uint32_t)codes[k] << 6 | literals[k];
        t->second[k] = (uint32_t)codes[k] << 12 | (uint32_t)literals[k] << 6 | literals[k];
    }
    for (int code = 0, k = MATCH; code < LENGTH_CODES; code++) {
        unsigned bits = literals[END_OF_BLOCK + 1 + code];
        for (int extra = 0; extra < lengths_of(code); extra++)
            t->first[k++] =
                (codes[END_OF_BLOCK + 1 + code] | (uint32_t)extra << bits) << 6 | (bits + LENGTH_EXTRA[code]);
    }
    for (unsigned k = 0; k < DISTANCE_CODES; k++)
        t->second[DISTANCE + k] =
            (uint32_t)distance_codes[k] << 12 | (distances[k] + distance_extra(k)) << 6 | distances[k];
    t->second[NOTHING] = 0;
}

static inline uint64_t token_bits(const Tables *t, uint32_t token, unsigned *n) {
    uint32_t first = t->first[token & (SYMBOLS - 1)], second = t->second[token >> SECOND_SHIFT & (SYMBOLS - 1)];
    *n = (first & 63) + (second >> 6 & 63);
    return first >> 6 | ((second >> 12) + ((uint64_t)(token >> EXTRA_SHIFT) << (second & 63))) << (first & 63);
}

/* BMI2 shifts do not need a fixed register. */
CLONES_FOR("bmi2") static void put_tokens(BitWriter *w, const Tables *t, const uint32_t *tokens, int64_t n) {
    BitWriter v = *w;
    int64_t i = 0;
    for (; i + 2 <= n; i += 2) {
        unsigned n0, n1;
        uint64_t bits0 = token_bits(t, tokens[i], &n0), bits1 = token_bits(t, tokens[i + 1], &n1);
        if (n0 + n1 > 56) {
            put_bits(&v, bits0, n0);
            put_bits(&v, bits1, n1);
        } else {
            put_bits(&v, bits0 | bits1 << n0, n0 + n1);
        }
    }
    if (i < n) {
        unsigned n0;
        uint64_t bits0 = token_bits(t, tokens[i], &n0);
        put_bits(&v, bits0, n0);
    }
    *w = v;
}

void deflate_stored(BitWriter *w, const uint8_t *plain, int64_t bytes, int last) {
    do {
        int64_t part = bytes < MAX_STORED ? bytes : MAX_STORED;
        put_bits(w, (unsigned)(last && part == bytes), 3);
        if (w->count) put_bits(w, 0, 8 - w->count);
        put_bits(w, (uint64_t)part | (uint64_t)(part ^ 0xffff) << 16, 32);
        memcpy(w->next, plain, (size_t)part);
        w->next += part;
        plain += part;
        bytes -= part;
    } while (bytes);
}

void deflate_block(BitWriter *w, const Deflater *d, const uint8_t *plain, int64_t bytes, int last) {
    uint32_t literal_counts[LITERAL_CODES], distance_counts[DISTANCE_CODES];
    uint8_t literals[LITERAL_CODES], distances[DISTANCE_CODES];
    uint16_t codes[LITERAL_CODES], distance_codes[DISTANCE_CODES];
    Description description;
    Tables tables;
    count_codes(d->counts, literal_counts, distance_counts);
    deflate_code_lengths(literal_counts, LITERAL_CODES, MAX_BITS, literals);
    deflate_code_lengths(distance_counts, DISTANCE_CODES, MAX_BITS, distances);
    describe(&description, literals, distances);
    int64_t bits = description.size + literals[END_OF_BLOCK];
    for (int k = 0; k < 256; k++) bits += (int64_t)literal_counts[k] * literals[k];
    for (int k = 0; k < LENGTH_CODES; k++)
        bits += (int64_t)literal_counts[257 + k] * (literals[257 + k] + LENGTH_EXTRA[k]);
    for (unsigned k = 0; k < DISTANCE_CODES; k++)
        bits += (int64_t)distance_counts[k] * (distances[k] + distance_extra(k));
    if (bits >= 8 * bytes) {
        deflate_stored(w, plain, bytes, last);
        return;
    }
    deflate_codes(literals, LITERAL_CODES, codes);
    deflate_codes(distances, DISTANCE_CODES, distance_codes);
    fill_tables(&tables, literals, codes, distances, distance_codes);
    put_description(w, &description, last);
    put_tokens(w, &tables, d->tokens, d->token - d->tokens);
    put_bits(w, codes[END_OF_BLOCK], literals[END_OF_BLOCK]);
}
