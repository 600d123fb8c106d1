/* DEFLATE data (RFC 1951) to bytes, for streams that hold volumes.
 *
 * Such streams are short matches, one after another: noise repeats itself two or three voxels at a time. What costs then
 * is the chain from one symbol to where the next begins. One table, indexed by the next bits, therefore holds whole
 * matches (length code and distance code together) and pairs of literals, and whatever it holds is carried out alike,
 * by one load and one store of eight bytes, without a branch that data decide. What does not fit (long codes, long
 * matches, overlaps, ends of blocks) is decoded symbol by symbol. */
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

enum { NEEDS_INPUT = 0, ENDED = 1, OUT_IS_FULL = 2, TRUNCATED = -1, BAD_BLOCK = -2, BAD_SYMBOL = -4, BAD_DISTANCE = -5 };

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

static inline void copy8(uint8_t *to, const uint8_t *from) {
    uint64_t value;
    memcpy(&value, from, 8);
    memcpy(to, &value, 8);
}

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

/* Copy a match; up to 31 bytes beyond it may be overwritten. */
static inline void copy_match(uint8_t *to, uint32_t distance, uint32_t length) {
    const uint8_t *from = to - distance;
    uint8_t *end = to + length;
    if (distance >= 16) {
        do {
            copy8(to, from);
            copy8(to + 8, from + 8);
            to += 16;
            from += 16;
        } while (to < end);
    } else if (distance >= 8) {
        do {
            copy8(to, from);
            to += 8;
            from += 8;
        } while (to < end);
    } else {
        uint8_t pattern[8];
        for (uint32_t i = 0, j = 0; i < 8; i++, j = j + 1 == distance ? 0 : j + 1) pattern[i] = from[j];
        uint32_t step = 8 - 8 % distance;
        do {
            memcpy(to, pattern, 8);
            to += step;
        } while (to < end);
    }
}

/* Decode one symbol with every check. Gives 1 at the end of a block. */
static int one_symbol(Inflater *s, Input *in, uint8_t *start, uint8_t **out, uint8_t *end) {
    Bits bits = s->bits;
    int count = s->count;
    const uint8_t *at = in->at;
    uint32_t symbol, extra, length, distance;
    refill(s, in);
    TRY(take_word(s, &s->literals, &symbol));
    if (symbol < END_OF_BLOCK) {
        if (*out == end) goto full;
        *(*out)++ = (uint8_t)symbol;
        return 0;
    }
    if (symbol == END_OF_BLOCK) return 1;
    symbol -= END_OF_BLOCK + 1;
    if (symbol >= LENGTH_CODES) return BAD_SYMBOL;
    TRY(take(s, LENGTH_EXTRA[symbol], &extra));
    length = LENGTH_BASE[symbol] + extra;
    TRY(take_word(s, &s->distances, &symbol));
    if (symbol >= DISTANCE_CODES) return BAD_SYMBOL;
    TRY(take(s, distance_extra(symbol), &extra));
    distance = distance_base(symbol) + extra;
    if ((int64_t)distance > *out - start) return BAD_DISTANCE;
    if ((int64_t)length > end - *out) goto full;
    if (end - *out >= OUT_SLACK)
        copy_match(*out, distance, length);
    else
        for (uint32_t i = 0; i < length; i++) (*out)[i] = (*out)[(int64_t)i - distance];
    *out += length;
    return 0;
full: /* nothing has happened */
    s->bits = bits;
    s->count = count;
    in->at = at;
    return OUT_IS_FULL;
}

/* Decode while input and output have room for any two symbols, WINDOW bytes being made already, so that no distance is
 * too far. Of `count` the low eight bits are meant, of a shift the low six. Gives 1 at the end of a block. One source,
 * two machine codes, chosen when it is called: bzhi spares three instructions a symbol. */
#define DEFINE_MANY_SYMBOLS(name, attributes, LOW_BITS)                                                                \
    attributes static int name(Inflater *s, Input *in, uint8_t **out_at, uint8_t *end) {                               \
        const uint64_t *joint = s->joint;                                                                              \
        const uint8_t *at = in->at, *at_end = in->end - SYMBOL_BYTES;                                                  \
        uint8_t *out = *out_at, *out_end = end - OUT_SLACK;                                                            \
        Bits bits = s->bits;                                                                                           \
        uint64_t count = (uint64_t)s->count;                                                                           \
        int result = 0;                                                                                                \
        while (at <= at_end && out <= out_end) {                                                                       \
            REFILL                                                                                                     \
            PLAIN_SYMBOL(LOW_BITS)                                                                                     \
            PLAIN_SYMBOL(LOW_BITS)                                                                                     \
            continue;                                                                                                  \
        special:                                                                                                       \
            REFILL                                                                                                     \
            uint32_t word = find_word(&s->literals, bits), symbol = word >> 4;                                         \
            bits >>= word & 15;                                                                                        \
            count -= word & 15;                                                                                        \
            if (symbol < END_OF_BLOCK && word) {                                                                       \
                *out++ = (uint8_t)symbol;                                                                              \
                continue;                                                                                              \
            }                                                                                                          \
            if (symbol <= END_OF_BLOCK || symbol >= LITERAL_CODES) {                                                   \
                result = symbol == END_OF_BLOCK ? 1 : BAD_SYMBOL;                                                      \
                break;                                                                                                 \
            }                                                                                                          \
            symbol -= END_OF_BLOCK + 1;                                                                                \
            uint32_t length = LENGTH_BASE[symbol] + ((uint32_t)bits & ((1u << LENGTH_EXTRA[symbol]) - 1));             \
            bits >>= LENGTH_EXTRA[symbol];                                                                             \
            count -= LENGTH_EXTRA[symbol];                                                                             \
            word = find_word(&s->distances, bits);                                                                     \
            symbol = word >> 4;                                                                                        \
            if (!word || symbol >= DISTANCE_CODES) {                                                                   \
                result = BAD_SYMBOL;                                                                                   \
                break;                                                                                                 \
            }                                                                                                          \
            bits >>= word & 15;                                                                                        \
            copy_match(out, distance_base(symbol) + ((uint32_t)bits & ((1u << distance_extra(symbol)) - 1)), length);  \
            out += length;                                                                                             \
            bits >>= distance_extra(symbol);                                                                           \
            count -= (word & 15) + distance_extra(symbol);                                                             \
        }                                                                                                              \
        s->bits = bits;                                                                                                \
        s->count = (int)(count & 255);                                                                                 \
        in->at = at;                                                                                                   \
        *out_at = out;                                                                                                 \
        return result;                                                                                                 \
    }

#define REFILL                                                                                                         \
    {                                                                                                                  \
        bits |= load64(at) << (count & 63);                                                                            \
        at += 7 - ((count >> 3) & 7);                                                                                  \
        count |= 56;                                                                                                   \
    }

#define PLAIN_SYMBOL(LOW_BITS)                                                                                         \
    {                                                                                                                  \
        uint64_t entry = joint[bits & ((1 << JOINT_BITS) - 1)];                                                        \
        uint64_t length = (entry >> 8) & 255;                                                                          \
        uint64_t distance = ((entry >> 32) & 0xFFFF) + (LOW_BITS(bits, entry) >> ((entry >> 16) & 63));                \
        if (distance < length) goto special;                                                                           \
        store64(out, (load64(out - distance) & (uint64_t)((int64_t)(int32_t)entry >> 63)) | entry >> 48);              \
        out += length;                                                                                                 \
        bits >>= entry & 63;                                                                                           \
        count -= entry;                                                                                                \
    }

#define LOW_BITS_PLAIN(bits, entry) ((bits) & (((uint64_t)1 << ((entry)&63)) - 1))
DEFINE_MANY_SYMBOLS(many_symbols, , LOW_BITS_PLAIN)
#if defined(HAVE_AVX2_CODE)
#define LOW_BITS_BMI2(bits, entry) _bzhi_u64(bits, (unsigned)(entry))
DEFINE_MANY_SYMBOLS(many_symbols_bmi2, __attribute__((target("bmi2"))), LOW_BITS_BMI2)
#endif

EXPORT int64_t itkit_inflater_bytes(void) { return (int64_t)sizeof(Inflater); }

/* Start a stream. */
EXPORT void itkit_inflate_begin(Inflater *s) {
    s->bits = 0;
    s->count = 0;
    s->phase = BETWEEN_BLOCKS;
    s->is_last_block = 0;
    s->stored_left = 0;
}

/* Inflate until the input is used, the output full or the stream at its end; call again with what is left of the input
 * and more. `used` and `made` count bytes of this call. Bytes out[-history..0) were made before. Without `is_last` up to
 * HEADER_BYTES of the input may stay unused. */
EXPORT int itkit_inflate(Inflater *s, const uint8_t *input, int64_t input_bytes, int is_last, uint8_t *output,
                         int64_t history, int64_t output_bytes, int64_t *used, int64_t *made) {
    Input in = {input, input + input_bytes};
    uint8_t *out = output, *start = output - history, *end = output + output_bytes;
    int result = 0;
    int (*many)(Inflater *, Input *, uint8_t **, uint8_t *) = many_symbols;
#if defined(HAVE_AVX2_CODE)
    if (__builtin_cpu_supports("bmi2")) many = many_symbols_bmi2;
#endif
    while (!result) {
        int64_t left = in.end - in.at;
        if (s->phase == BETWEEN_BLOCKS) {
            if (s->is_last_block) {
                settle(s, &in);
                result = ENDED;
            } else if (!is_last && left < HEADER_BYTES) {
                settle(s, &in);
                if (in.end - in.at < HEADER_BYTES) { result = NEEDS_INPUT; break; }
            } else {
                result = begin_block(s, &in);
            }
        } else if (s->phase == IN_STORED) {
            int64_t n = s->stored_left < left ? s->stored_left : left;
            n = n < end - out ? n : end - out;
            memcpy(out, in.at, (size_t)n);
            out += n;
            in.at += n;
            s->stored_left -= n;
            if (s->stored_left == 0) s->phase = BETWEEN_BLOCKS;
            else if (in.at == in.end) { result = is_last ? TRUNCATED : NEEDS_INPUT; break; }
            else result = OUT_IS_FULL;
        } else {
            if (left >= SYMBOL_BYTES && end - out >= OUT_SLACK && out - start >= WINDOW)
                result = many(s, &in, &out, end);
            else if (left >= SYMBOL_BYTES || is_last) result = one_symbol(s, &in, start, &out, end);
            else { settle(s, &in); if (in.end - in.at < SYMBOL_BYTES) break; }
            if (result == 1) {
                s->phase = BETWEEN_BLOCKS;
                result = 0;
            }
        }
    }
    settle(s, &in);
    *used = in.at - input;
    *made = out - output;
    return result;
}
