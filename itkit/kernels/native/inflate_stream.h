/* DEFLATE data (RFC 1951) to bytes, for streams that hold volumes.
 *
 * Such streams are short matches, one after another: noise repeats itself two or three voxels at a time. What costs then
 * is the chain from one symbol to where the next begins. One table, indexed by the next bits, therefore holds whole
 * matches (length code and distance code together) and pairs of literals, and whatever it holds is carried out alike,
 * by one load and one store of eight bytes, without a branch that data decide. What does not fit (long codes, long
 * matches, overlaps, ends of blocks) is decoded symbol by symbol. */
#ifndef ITKIT_INFLATE_STREAM_H
#define ITKIT_INFLATE_STREAM_H

#include "inflate_codes.h"

enum {
    JOINT_BITS = LITERAL_BITS,
    DISTANCE_BITS = 9,
    LENGTHS_BITS = 7,
    DISTANCES = 32,
    HEADER_BYTES = 600, /* more than the longest description of a block's codes */
    SYMBOL_BYTES = 16,  /* more than what two symbols take, refills included */
    OUT_SLACK = 320,    /* more than the longest match and what copies write beyond it */
};

enum { NEEDS_INPUT = 0, ENDED = 1, OUT_IS_FULL = 2, STOPPED = 3, TRUNCATED = -1, BAD_BLOCK = -2, BAD_SYMBOL = -4, BAD_DISTANCE = -5 };

typedef struct {
    Bits bits;
    int count; /* of bits that are valid */
    int phase; /* between blocks, in a block of codes, in a stored block */
    int is_last_block;
    int64_t stored_left;
    Code literals, distances;
    uint64_t joint[1 << JOINT_BITS];
} Inflater;

enum { BETWEEN_BLOCKS, IN_CODES, IN_STORED };

/* Entry of the joint table: bits 0..7 all bits it takes, 8..15 bytes it makes (at most 8), 16..23 bits before the
 * distance's own, 31 match; 32..47 least distance, 48..63 one or two literals. What is loaded for literals, for nothing,
 * lies within the window, and far enough back to have left the processor's store buffer. What does not fit is longer
 * than its distance. */
#define SPECIAL ((uint64_t)1 << 8)
#define AS_MATCH ((uint64_t)1 << 31)
#define AS_LITERALS ((uint64_t)256 << 32)

static void build_joint(Inflater *s) {
    const uint16_t *first = s->literals.first, *far_first = s->distances.first;
    for (uint32_t i = 0; i < 1 << JOINT_BITS; i++) {
        uint32_t word = first[i], length = word & 15, symbol = word >> 4;
        uint64_t entry = SPECIAL;
        if (length && symbol < END_OF_BLOCK) {
            uint32_t more = first[i >> length], both = length + (more & 15);
            if (more && both <= JOINT_BITS && more >> 4 < END_OF_BLOCK)
                entry = AS_LITERALS | both | 2 << 8 | both << 16 | (uint64_t)(symbol | (more >> 4) << 8) << 48;
            else
                entry = AS_LITERALS | length | 1 << 8 | length << 16 | (uint64_t)symbol << 48;
        } else if (length && symbol > END_OF_BLOCK && symbol <= END_OF_BLOCK + 6) {
            uint32_t far = far_first[(i >> length) & ((1 << DISTANCE_BITS) - 1)], both = length + (far & 15);
            if (far && both <= JOINT_BITS && far >> 4 < DISTANCE_CODES) {
                uint32_t extra = distance_extra(far >> 4);
                entry = AS_MATCH | (both + extra) | (symbol - END_OF_BLOCK + 2) << 8 | both << 16 |
                        (uint64_t)distance_base(far >> 4) << 32;
            }
        }
        s->joint[i] = entry;
    }
}

typedef struct {
    const uint8_t *at, *end;
} Input;

/* Hold at least 48 bits, unless the input ends before. */
static inline void refill(Inflater *s, Input *in) {
    if (in->end - in->at >= 8) {
        s->bits |= load64(in->at) << s->count;
        in->at += (63 - s->count) >> 3;
        s->count |= 56;
    } else {
        while (s->count <= 56 && in->at < in->end) {
            s->bits |= (Bits)*in->at++ << s->count;
            s->count += 8;
        }
    }
}

/* Give whole bytes that were not used back to the input. */
static inline void settle(Inflater *s, Input *in) {
    in->at -= s->count >> 3;
    s->count &= 7;
    s->bits &= ((Bits)1 << s->count) - 1;
}

static inline int take(Inflater *s, int count, uint32_t *value) {
    if (s->count < count) return TRUNCATED;
    *value = (uint32_t)(s->bits & (((Bits)1 << count) - 1));
    s->bits >>= count;
    s->count -= count;
    return 0;
}

static int take_word(Inflater *s, const Code *code, uint32_t *symbol) {
    uint32_t word = find_word(code, s->bits);
    if (s->count < (int)(word & 15) || (!word && s->count < MAX_BITS)) return TRUNCATED;
    if (!word) return BAD_SYMBOL;
    s->bits >>= word & 15;
    s->count -= word & 15;
    *symbol = word >> 4;
    return 0;
}

#define TRY(call)                                                                                                      \
    do {                                                                                                               \
        int result_ = (call);                                                                                          \
        if (result_ < 0) return result_;                                                                               \
    } while (0)

static int read_codes(Inflater *s, Input *in) {
    uint8_t lengths[LITERALS + DISTANCES] = {0};
    uint32_t literals, distances, n, value;
    refill(s, in);
    TRY(take(s, 5, &literals));
    TRY(take(s, 5, &distances));
    TRY(take(s, 4, &n));
    literals += 257;
    distances += 1;
    if (literals > LITERAL_CODES || distances > DISTANCE_CODES) return BAD_CODES;
    for (uint32_t i = 0; i < n + 4; i++) {
        refill(s, in);
        TRY(take(s, 3, &value));
        lengths[CODE_LENGTH_ORDER[i]] = (uint8_t)value;
    }
    Code *code = &s->distances; /* not in use yet */
    TRY(build_code(code, LENGTHS_BITS, lengths, CODE_LENGTH_CODES));
    if (code->limit[MAX_BITS] != 1 << MAX_BITS) return BAD_CODES;
    memset(lengths, 0, sizeof lengths);
    for (uint32_t i = 0; i < literals + distances;) {
        refill(s, in);
        TRY(take_word(s, code, &value));
        if (value < 16) {
            lengths[i++] = (uint8_t)value;
            continue;
        }
        uint32_t times;
        uint8_t repeated = 0;
        TRY(take(s, value == 16 ? 2 : value == 17 ? 3 : 7, &times));
        times += value == 18 ? 11 : 3;
        if (value == 16) {
            if (i == 0) return BAD_CODES;
            repeated = lengths[i - 1];
        }
        if (i + times > literals + distances) return BAD_CODES;
        while (times--) lengths[i++] = repeated;
    }
    if (!lengths[END_OF_BLOCK]) return BAD_CODES;
    TRY(build_code(&s->literals, LITERAL_BITS, lengths, (int)literals));
    TRY(build_code(&s->distances, DISTANCE_BITS, lengths + literals, (int)distances));
    build_joint(s);
    return 0;
}

static int fixed_codes(Inflater *s) {
    uint8_t lengths[LITERALS];
    for (int i = 0; i < LITERALS; i++) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
    TRY(build_code(&s->literals, LITERAL_BITS, lengths, LITERALS));
    memset(lengths, 5, DISTANCES);
    TRY(build_code(&s->distances, DISTANCE_BITS, lengths, DISTANCES));
    build_joint(s);
    return 0;
}

static int begin_block(Inflater *s, Input *in) {
    uint32_t last, type, size, complement;
    refill(s, in);
    TRY(take(s, 1, &last));
    TRY(take(s, 2, &type));
    s->is_last_block = (int)last;
    if (type == 3) return BAD_BLOCK;
    if (type == 0) {
        s->bits >>= s->count & 7;
        s->count &= ~7;
        TRY(take(s, 16, &size));
        TRY(take(s, 16, &complement));
        if ((size ^ complement) != 0xFFFF) return BAD_BLOCK;
        settle(s, in);
        s->stored_left = size;
        s->phase = IN_STORED;
        return 0;
    }
    TRY(type == 1 ? fixed_codes(s) : read_codes(s, in));
    s->phase = IN_CODES;
    return 0;
}

/* The place of the next bit, in bits after `origin`. */
static inline int64_t place(const Inflater *s, const Input *in, const uint8_t *origin) {
    return (in->at - origin) * 8 - s->count;
}

/* Begin between two blocks, at any bit of the input. */
static inline void begin_at(Inflater *s, Input *in, int64_t bit) {
    in->at += bit >> 3;
    s->phase = BETWEEN_BLOCKS;
    s->is_last_block = 0;
    s->stored_left = 0;
    s->bits = 0;
    s->count = 0;
    if (bit & 7) {
        s->bits = (Bits)*in->at++ >> (bit & 7);
        s->count = 8 - (int)(bit & 7);
    }
}

#endif
