/* Count and renumber the classes of label maps. They hold long runs of one class, so a block of equal values is handled
 * at once. The table index of a value is (value - first) modulo the type's range, which also holds for signed types. */
#include "common.h"

#define BLOCK(size) (64 / (size))

/* Bytes are counted in four tables in turn, so that an increment need not wait for the previous one. */
enum { TABLES = 4, BYTES = 256 };
#define TABLE(size, k) ((size) == 1 ? (k) % TABLES * BYTES : 0)

static void add_tables(const int64_t *tables, int64_t *counts) {
    for (int i = 0; i < TABLES * BYTES; i++) counts[i % BYTES] += tables[i];
}

#define DEFINE_UNIFORM(size, T)                                                                                        \
    static inline int uniform_##size(const T *values) {                                                                \
        T differs = 0;                                                                                                 \
        for (int k = 0; k < BLOCK(size); k++) differs |= (T)(values[k] ^ values[0]);                                   \
        return differs == 0;                                                                                           \
    }
FOR_SIZES(DEFINE_UNIFORM)

#define DEFINE_COUNT(size, T)                                                                                          \
    CLONES static void count_##size(const char *source, int64_t n, uint64_t first, int64_t *counts) {                  \
        const T *values = (const T *)source, origin = (T)first;                                                        \
        int64_t i = 0;                                                                                                 \
        for (; i + BLOCK(size) <= n; i += BLOCK(size)) {                                                               \
            if (uniform_##size(values + i)) {                                                                          \
                counts[(T)(values[i] - origin)] += BLOCK(size);                                                        \
                continue;                                                                                              \
            }                                                                                                          \
            for (int k = 0; k < BLOCK(size); k++) counts[TABLE(size, k) + (T)(values[i + k] - origin)]++;              \
        }                                                                                                              \
        for (; i < n; i++) counts[(T)(values[i] - origin)]++;                                                          \
    }
FOR_SIZES(DEFINE_COUNT)

EXPORT void itkit_count(int size, const char *source, int64_t n, uint64_t first, int64_t *counts) {
    int64_t tables[TABLES * BYTES] = {0}, *found = size == 1 ? tables : counts;
    (size == 1 ? count_1 : size == 2 ? count_2 : size == 4 ? count_4 : count_8)(source, n, first, found);
    if (size == 1) add_tables(tables, counts);
}

#define DEFINE_REMAP(size, T, out_size, U)                                                                             \
    CLONES static void remap_##size##_##out_size(const char *RESTRICT source, int64_t n, uint64_t first,               \
                                                 const char *RESTRICT table, char *RESTRICT out,                       \
                                                 int64_t *RESTRICT counts) {                                           \
        const T *values = (const T *)source, origin = (T)first;                                                        \
        const U *lookup = (const U *)table;                                                                            \
        U *to = (U *)out;                                                                                              \
        int64_t i = 0;                                                                                                 \
        for (; i + BLOCK(size) <= n; i += BLOCK(size)) {                                                               \
            if (uniform_##size(values + i)) {                                                                          \
                T place = (T)(values[i] - origin);                                                                     \
                U value = lookup[place];                                                                               \
                counts[place] += BLOCK(size);                                                                          \
                for (int k = 0; k < BLOCK(size); k++) to[i + k] = value;                                               \
                continue;                                                                                              \
            }                                                                                                          \
            for (int k = 0; k < BLOCK(size); k++) {                                                                    \
                T place = (T)(values[i + k] - origin);                                                                 \
                counts[TABLE(size, k) + place]++;                                                                      \
                to[i + k] = lookup[place];                                                                             \
            }                                                                                                          \
        }                                                                                                              \
        for (; i < n; i++) {                                                                                           \
            T place = (T)(values[i] - origin);                                                                         \
            counts[place]++;                                                                                           \
            to[i] = lookup[place];                                                                                     \
        }                                                                                                              \
    }
#define DEFINE_REMAPS(size, T)                                                                                         \
    DEFINE_REMAP(size, T, 1, uint8_t)                                                                                  \
    DEFINE_REMAP(size, T, 2, uint16_t)                                                                                 \
    DEFINE_REMAP(size, T, 4, uint32_t)                                                                                 \
    DEFINE_REMAP(size, T, 8, uint64_t)
FOR_SIZES(DEFINE_REMAPS)

typedef void (*Remap)(const char *, int64_t, uint64_t, const char *, char *, int64_t *);

EXPORT void itkit_remap(int size, int out_size, const char *source, int64_t n, uint64_t first, const char *table,
                        char *out, int64_t *counts) {
    static const Remap REMAPS[4][4] = {
        {remap_1_1, remap_1_2, remap_1_4, remap_1_8},
        {remap_2_1, remap_2_2, remap_2_4, remap_2_8},
        {remap_4_1, remap_4_2, remap_4_4, remap_4_8},
        {remap_8_1, remap_8_2, remap_8_4, remap_8_8},
    };
    int row = size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3;
    int column = out_size == 1 ? 0 : out_size == 2 ? 1 : out_size == 4 ? 2 : 3;
    int64_t tables[TABLES * BYTES] = {0}, *found = size == 1 ? tables : counts;
    REMAPS[row][column](source, n, first, table, out, found);
    if (size == 1) add_tables(tables, counts);
}

/* Refine groups of voxels by one more label map: voxels of one group and one class form a new group. New groups get
 * numbers in the order in which they are met; table[group * n_classes + class] holds the number, or -1 before. */
static inline int same_groups(const int32_t *groups, int64_t n) {
    int32_t differs = 0;
    for (int64_t k = 0; k < n; k++) differs |= groups[k] ^ groups[0];
    return differs == 0;
}

#define DEFINE_REFINE(size, T)                                                                                         \
    CLONES static int64_t refine_##size(const char *source, int64_t n, uint64_t first, const int32_t *classes,         \
                                        int64_t n_classes, int32_t *RESTRICT groups, int32_t *RESTRICT table,          \
                                        int64_t *RESTRICT counts) {                                                    \
        const T *values = (const T *)source, origin = (T)first;                                                        \
        int64_t found = 0;                                                                                             \
        for (int64_t i = 0; i < n;) {                                                                                  \
            int64_t length = 1;                                                                                        \
            if (i + BLOCK(size) <= n && uniform_##size(values + i) && same_groups(groups + i, BLOCK(size)))            \
                length = BLOCK(size);                                                                                  \
            int64_t end = length > 1 ? i + length : i + BLOCK(size) < n ? i + BLOCK(size) : n;                         \
            for (; i < end; i += length) {                                                                             \
                const int32_t group = groups[i];                                                                       \
                int32_t *place = table + group * n_classes + classes[(T)(values[i] - origin)];                         \
                if (*place < 0) *place = (int32_t)found++;                                                             \
                const int32_t new_group = *place;                                                                      \
                counts[new_group] += length;                                                                           \
                if (length == 1)                                                                                       \
                    groups[i] = new_group;                                                                             \
                else if (new_group != group)                                                                           \
                    for (int k = 0; k < BLOCK(size); k++) groups[i + k] = new_group;                                   \
            }                                                                                                          \
        }                                                                                                              \
        return found;                                                                                                  \
    }
FOR_SIZES(DEFINE_REFINE)

EXPORT int64_t itkit_refine(int size, const char *source, int64_t n, uint64_t first, const int32_t *classes,
                            int64_t n_classes, int32_t *groups, int32_t *table, int64_t *counts) {
    return (size == 1 ? refine_1 : size == 2 ? refine_2 : size == 4 ? refine_4 : refine_8)(
        source, n, first, classes, n_classes, groups, table, counts);
}
