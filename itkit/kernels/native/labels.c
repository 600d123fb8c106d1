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

/* Count the values where a mask is 0 and where it is not, in two tables each, taken in turn: an increment need not wait
 * for the previous one. */
#define DEFINE_COUNT_APART(size, T)                                                                                    \
    CLONES static void count_apart_##size(const char *source, int64_t n, uint64_t first, const uint8_t *mask,          \
                                          int64_t length, int64_t *counts) {                                           \
        const T *values = (const T *)source, origin = (T)first;                                                        \
        for (int64_t i = 0; i < n;) {                                                                                  \
            const int64_t block = n - i < BLOCK(1) ? n - i : BLOCK(1);                                                 \
            if (block == BLOCK(1) && uniform_1(mask + i)) {                                                            \
                int64_t *table = counts + (mask[i] ? 2 * length : 0);                                                   \
                for (int64_t end = i + block; i < end; i += BLOCK(size)) {                                             \
                    if (uniform_##size(values + i)) {                                                                  \
                        table[(T)(values[i] - origin)] += BLOCK(size);                                                 \
                        continue;                                                                                      \
                    }                                                                                                  \
                    for (int k = 0; k < BLOCK(size); k += 2) {                                                         \
                        table[(T)(values[i + k] - origin)]++;                                                          \
                        table[length + (T)(values[i + k + 1] - origin)]++;                                             \
                    }                                                                                                  \
                }                                                                                                      \
                continue;                                                                                              \
            }                                                                                                          \
            for (int64_t end = i + block; i < end; i++)                                                                \
                counts[(mask[i] ? 2 * length : 0) + (i % 2) * length + (T)(values[i] - origin)]++;                     \
        }                                                                                                              \
    }
FOR_SIZES(DEFINE_COUNT_APART)

EXPORT void itkit_count_apart(int size, const char *source, int64_t n, uint64_t first, const uint8_t *mask,
                              int64_t length, int64_t *counts) {
    (size == 1 ? count_apart_1 : size == 2 ? count_apart_2 : size == 4 ? count_apart_4 : count_apart_8)(
        source, n, first, mask, length, counts);
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
 * numbers in the order in which they are met; table[group * n_classes + class] holds the number, or -1 before, and
 * *found counts them. Values are counted in the same pass. Groups have as few bytes as their numbers allow: the function
 * stops before the first voxel whose number does not fit, and goes on from there when groups have been widened. */
#define DEFINE_SAME_GROUPS(size, T)                                                                                    \
    static inline int same_groups_##size(const T *groups, int64_t n) {                                                 \
        T differs = 0;                                                                                                 \
        for (int64_t k = 0; k < n; k++) differs |= (T)(groups[k] ^ groups[0]);                                         \
        return differs == 0;                                                                                           \
    }
DEFINE_SAME_GROUPS(1, uint8_t)
DEFINE_SAME_GROUPS(2, uint16_t)
DEFINE_SAME_GROUPS(4, uint32_t)

#define DEFINE_REFINE(size, T, group_size, G)                                                                          \
    CLONES static int64_t refine_##size##_##group_size(const char *source, int64_t begin, int64_t n, uint64_t first,   \
                                                       const int32_t *RESTRICT classes, int64_t n_classes,             \
                                                       char *RESTRICT groups_of, int32_t *RESTRICT table,              \
                                                       int64_t *RESTRICT found, int64_t *RESTRICT counts) {            \
        const T *values = (const T *)source, origin = (T)first;                                                        \
        G *groups = (G *)groups_of;                                                                                    \
        for (int64_t i = begin; i < n;) {                                                                              \
            const int64_t rest = n - i, block = rest < BLOCK(size) ? rest : BLOCK(size);                               \
            const int is_full = block == BLOCK(size);                                                                  \
            if (is_full && uniform_##size(values + i) && same_groups_##group_size(groups + i, BLOCK(size))) {          \
                const T value = (T)(values[i] - origin);                                                               \
                const G group = groups[i];                                                                             \
                int32_t *place = table + (int64_t)group * n_classes + classes[value];                                  \
                if (*place < 0) {                                                                                      \
                    if (*found > (G)-1) return i;                                                                      \
                    *place = (int32_t)(*found)++;                                                                      \
                }                                                                                                      \
                counts[value] += BLOCK(size);                                                                          \
                const G new_group = (G)*place;                                                                         \
                if (new_group != group)                                                                                \
                    for (int k = 0; k < BLOCK(size); k++) groups[i + k] = new_group;                                   \
                i += BLOCK(size);                                                                                      \
                continue;                                                                                              \
            }                                                                                                          \
            for (int64_t k = 0; k < block; k++, i++) {                                                                 \
                const T value = (T)(values[i] - origin);                                                               \
                int32_t *place = table + (int64_t)groups[i] * n_classes + classes[value];                              \
                if (*place < 0) {                                                                                      \
                    if (*found > (G)-1) return i;                                                                      \
                    *place = (int32_t)(*found)++;                                                                      \
                }                                                                                                      \
                counts[TABLE(size, k) + value]++;                                                                      \
                groups[i] = (G)*place;                                                                                 \
            }                                                                                                          \
        }                                                                                                              \
        return n;                                                                                                      \
    }
#define DEFINE_REFINES(size, T)                                                                                        \
    DEFINE_REFINE(size, T, 1, uint8_t)                                                                                 \
    DEFINE_REFINE(size, T, 2, uint16_t)                                                                                \
    DEFINE_REFINE(size, T, 4, uint32_t)
FOR_SIZES(DEFINE_REFINES)

typedef int64_t (*Refine)(const char *, int64_t, int64_t, uint64_t, const int32_t *, int64_t, char *, int32_t *,
                          int64_t *, int64_t *);

EXPORT int64_t itkit_refine(int size, int group_size, const char *source, int64_t begin, int64_t n, uint64_t first,
                            const int32_t *classes, int64_t n_classes, char *groups, int32_t *table, int64_t *found,
                            int64_t *counts) {
    static const Refine REFINES[4][3] = {
        {refine_1_1, refine_1_2, refine_1_4},
        {refine_2_1, refine_2_2, refine_2_4},
        {refine_4_1, refine_4_2, refine_4_4},
        {refine_8_1, refine_8_2, refine_8_4},
    };
    int row = size == 1 ? 0 : size == 2 ? 1 : size == 4 ? 2 : 3, column = group_size == 1 ? 0 : group_size == 2 ? 1 : 2;
    int64_t tables[TABLES * BYTES] = {0}, *of_values = size == 1 ? tables : counts;
    int64_t end =
        REFINES[row][column](source, begin, n, first, classes, n_classes, groups, table, found, of_values);
    if (size == 1) add_tables(tables, counts);
    return end;
}
