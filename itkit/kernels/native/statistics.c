/* Extremes in one pass over contiguous values (n >= 1). Independent lanes let the compiler use vectors; their order
 * does not change the result. Comparisons ignore nan. */
#include "common.h"

enum { LANES = 64, STRETCH = 1 << 12 };

#define DEFINE_EXTREMES(number, name, T)                                                                               \
    CLONES static void extremes_##name(const char *source, int64_t n, char *out) {                                     \
        const T *values = (const T *)source;                                                                           \
        T low = values[0], high = values[0];                                                                           \
        for (int64_t i = 0; i < n; i++) {                                                                              \
            low = values[i] < low ? values[i] : low;                                                                   \
            high = values[i] > high ? values[i] : high;                                                                \
        }                                                                                                              \
        ((T *)out)[0] = low;                                                                                           \
        ((T *)out)[1] = high;                                                                                          \
    }
FOR_NARROW_INTEGERS(DEFINE_EXTREMES)
DEFINE_EXTREMES(5, u32, uint32_t)
FOR_WIDE_INTEGERS(DEFINE_EXTREMES)

/* Find the least and greatest value and count nan and infinities. nan is left out of the extremes; so are infinities,
 * unless keep_infinite is set. With no values left, the extremes are infinity and minus infinity. */
#define DEFINE_SUMMARY(number, name, T)                                                                                \
    CLONES static void summary_##name(const char *source, int64_t n, int keep_infinite, double *extremes,              \
                                      int64_t *n_special) {                                                            \
        const T *values = (const T *)source;                                                                           \
        const T limit = number == FIRST_FLOAT ? (T)FLT_MAX : (T)DBL_MAX;                                               \
        T low[LANES], high[LANES];                                                                                     \
        for (int k = 0; k < LANES; k++) {                                                                              \
            low[k] = (T)INFINITY;                                                                                      \
            high[k] = (T)-INFINITY;                                                                                    \
        }                                                                                                              \
        int64_t n_nan = 0, n_inf = 0;                                                                                  \
        for (int64_t begin = 0; begin < n; begin += STRETCH) {                                                         \
            int64_t end = begin + STRETCH < n ? begin + STRETCH : n, i = begin;                                        \
            int32_t special = 0; /* number of nan and infinities; if any, values are checked again */                  \
            for (int64_t j = begin; j < end; j++) special += !(values[j] >= -limit && values[j] <= limit);             \
            if (special) {                                                                                             \
                for (; i < end; i++) {                                                                                 \
                    T v = values[i];                                                                                   \
                    int is_inf = v > limit || v < -limit;                                                              \
                    n_nan += v != v;                                                                                   \
                    n_inf += is_inf;                                                                                   \
                    if (v != v || (is_inf && !keep_infinite)) continue;                                                \
                    low[0] = v < low[0] ? v : low[0];                                                                  \
                    high[0] = v > high[0] ? v : high[0];                                                               \
                }                                                                                                      \
                continue;                                                                                              \
            }                                                                                                          \
            for (; i + LANES <= end; i += LANES)                                                                       \
                for (int k = 0; k < LANES; k++) {                                                                      \
                    low[k] = values[i + k] < low[k] ? values[i + k] : low[k];                                          \
                    high[k] = values[i + k] > high[k] ? values[i + k] : high[k];                                       \
                }                                                                                                      \
            for (; i < end; i++) {                                                                                     \
                low[0] = values[i] < low[0] ? values[i] : low[0];                                                      \
                high[0] = values[i] > high[0] ? values[i] : high[0];                                                   \
            }                                                                                                          \
        }                                                                                                              \
        for (int k = 1; k < LANES; k++) {                                                                              \
            low[0] = low[k] < low[0] ? low[k] : low[0];                                                                \
            high[0] = high[k] > high[0] ? high[k] : high[0];                                                           \
        }                                                                                                              \
        extremes[0] = low[0];                                                                                          \
        extremes[1] = high[0];                                                                                         \
        n_special[0] = n_nan;                                                                                          \
        n_special[1] = n_inf;                                                                                          \
    }
FOR_FLOATS(DEFINE_SUMMARY)

typedef void (*Extremes)(const char *, int64_t, char *);
#define EXTREMES_ENTRY(number, name, T) [number] = extremes_##name,
static const Extremes EXTREMES[] = {
    FOR_NARROW_INTEGERS(EXTREMES_ENTRY) EXTREMES_ENTRY(5, u32, uint32_t) FOR_WIDE_INTEGERS(EXTREMES_ENTRY)};

/* Store the least and the greatest value of an integer type as two values of that type. */
EXPORT void itkit_extremes(int type, const char *source, int64_t n, char *out) { EXTREMES[type](source, n, out); }

EXPORT void itkit_summary(int type, const char *source, int64_t n, int keep_infinite, double *extremes,
                          int64_t *n_special) {
    (type == FIRST_FLOAT ? summary_f32 : summary_f64)(source, n, keep_infinite, extremes, n_special);
}
