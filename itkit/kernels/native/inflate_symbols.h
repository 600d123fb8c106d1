/* Decoding in blocks of codes, for results of one UNIT a byte: bytes, or wider ones that can also stand for bytes that are
 * not known yet (see inflate_segment.c). Whoever includes this defines UNIT, NAMED, which makes names of their own, and
 * store_entry, which carries an entry of the joint table out. */

static inline void NAMED(copy8)(UNIT *to, const UNIT *from) {
    UNIT units[8];
    memcpy(units, from, sizeof units);
    memcpy(to, units, sizeof units);
}

/* Copy a match; up to 31 units beyond it may be overwritten. */
static inline void NAMED(copy_match)(UNIT *to, uint32_t distance, uint32_t length) {
    const UNIT *from = to - distance;
    UNIT *end = to + length;
    if (distance >= 16) {
        do {
            NAMED(copy8)(to, from);
            NAMED(copy8)(to + 8, from + 8);
            to += 16;
            from += 16;
        } while (to < end);
    } else if (distance >= 8) {
        do {
            NAMED(copy8)(to, from);
            to += 8;
            from += 8;
        } while (to < end);
    } else {
        UNIT pattern[8];
        for (uint32_t i = 0, j = 0; i < 8; i++, j = j + 1 == distance ? 0 : j + 1) pattern[i] = from[j];
        uint32_t step = 8 - 8 % distance;
        do {
            memcpy(to, pattern, sizeof pattern);
            to += step;
        } while (to < end);
    }
}

/* Decode one symbol with every check. Gives 1 at the end of a block. */
static int NAMED(one_symbol)(Inflater *s, Input *in, UNIT *start, UNIT **out, UNIT *end) {
    Bits bits = s->bits;
    int count = s->count;
    const uint8_t *at = in->at;
    uint32_t symbol, extra, length, distance;
    refill(s, in);
    TRY(take_word(s, &s->literals, &symbol));
    if (symbol < END_OF_BLOCK) {
        if (*out == end) goto full;
        *(*out)++ = (UNIT)symbol;
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
        NAMED(copy_match)(*out, distance, length);
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

/* Decode while input and output have room for any two symbols, WINDOW units being made already, so that no distance is
 * too far. Of `count` the low eight bits are meant, of a shift the low six. Gives 1 at the end of a block. One source,
 * two machine codes, chosen when it is called: bzhi spares three instructions a symbol. */
#define DEFINE_MANY_SYMBOLS(name, attributes, LOW_BITS)                                                                \
    attributes static int name(Inflater *s, Input *in, UNIT **out_at, UNIT *end) {                               \
        const uint64_t *joint = s->joint;                                                                              \
        const uint8_t *at = in->at, *at_end = in->end - SYMBOL_BYTES;                                                  \
        UNIT *out = *out_at, *out_end = end - OUT_SLACK;                                                               \
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
                *out++ = (UNIT)symbol;                                                                                 \
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
            NAMED(copy_match)(out, distance_base(symbol) + ((uint32_t)bits & ((1u << distance_extra(symbol)) - 1)), length);  \
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
        NAMED(store_entry)(out, distance, entry);                                                                      \
        out += length;                                                                                                 \
        bits >>= entry & 63;                                                                                           \
        count -= entry;                                                                                                \
    }

#define LOW_BITS_PLAIN(bits, entry) ((bits) & (((uint64_t)1 << ((entry)&63)) - 1))
DEFINE_MANY_SYMBOLS(NAMED(many_symbols), , LOW_BITS_PLAIN)
#if defined(HAVE_AVX2_CODE)
#define LOW_BITS_BMI2(bits, entry) _bzhi_u64(bits, (unsigned)(entry))
DEFINE_MANY_SYMBOLS(NAMED(many_symbols_bmi2), __attribute__((target("bmi2"))), LOW_BITS_BMI2)
#endif

/* Decode until the input is used, the output full, the stream at its end, or a block ends at or behind `stop` (in bits
 * after `origin`). */
static int NAMED(decode)(Inflater *s, Input *in, int is_last, const uint8_t *origin, int64_t stop, UNIT *start, UNIT **out,
                         UNIT *end) {
    int result = 0;
    int (*many)(Inflater *, Input *, UNIT **, UNIT *) = NAMED(many_symbols);
#if defined(HAVE_AVX2_CODE)
    if (__builtin_cpu_supports("bmi2")) many = NAMED(many_symbols_bmi2);
#endif
    while (!result) {
        int64_t left = in->end - in->at, room = end - *out;
        if (s->phase == BETWEEN_BLOCKS) {
            if (s->is_last_block) {
                settle(s, in);
                result = ENDED;
            } else if (place(s, in, origin) >= stop) {
                result = STOPPED;
            } else if (!is_last && left < HEADER_BYTES) {
                settle(s, in);
                if (in->end - in->at < HEADER_BYTES) break;
            } else {
                result = begin_block(s, in);
            }
        } else if (s->phase == IN_STORED) {
            int64_t n = s->stored_left < left ? s->stored_left : left;
            n = n < room ? n : room;
            for (int64_t i = 0; i < n; i++) (*out)[i] = in->at[i];
            *out += n;
            in->at += n;
            s->stored_left -= n;
            if (s->stored_left == 0) s->phase = BETWEEN_BLOCKS;
            else if (in->at < in->end) result = OUT_IS_FULL;
            else if (is_last) result = TRUNCATED;
            else break;
        } else {
            if (left >= SYMBOL_BYTES && room >= OUT_SLACK && *out - start >= WINDOW) result = many(s, in, out, end);
            else if (left >= SYMBOL_BYTES || is_last) result = NAMED(one_symbol)(s, in, start, out, end);
            else { settle(s, in); if (in->end - in->at < SYMBOL_BYTES) break; }
            if (result == 1) {
                s->phase = BETWEEN_BLOCKS;
                result = 0;
            }
        }
    }
    settle(s, in);
    return result;
}
